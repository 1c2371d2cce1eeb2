"""Both stages start as the plain head."""

import pytest
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

from mmclarity.cli.main import run
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import check_start, load_checkpoint_file
from tools.model_converters.plain_to_stages import as_stages, convert, parser

HEAD = 'roi_head.bbox_head'


def test_both_stages_judge_as_the_plain_head_does():
    torch.manual_seed(0)
    plain = {
        'backbone.w': torch.randn(2),
        f'{HEAD}.fc_cls.weight': torch.randn(3, 5),
        f'{HEAD}.fc_reg.weight': torch.randn(4, 5) * 0.1,
        f'{HEAD}.fc_reg.bias': torch.randn(4) * 0.1,
    }
    stages = as_stages(plain)
    assert set(stages) == {
        'backbone.w',
        *(f'{HEAD}.{i}.{name[len(HEAD) + 1 :]}' for i in (0, 1) for name in list(plain)[1:]),
    }
    assert torch.equal(stages[f'{HEAD}.1.fc_cls.weight'], plain[f'{HEAD}.fc_cls.weight'])
    x, rois, boxes = torch.randn(6, 5), torch.tensor([[10.0, 10, 50, 90]]).repeat(6, 1), []
    for stage, stds in ((0, [0.1, 0.1, 0.2, 0.2]), (1, [0.05, 0.05, 0.1, 0.1])):
        weight, bias = (stages[f'{HEAD}.{stage}.fc_reg.{part}'] for part in ('weight', 'bias'))
        boxes.append(DeltaXYWHBBoxCoder(target_stds=stds).decode(rois, x @ weight.T + bias))
    torch.testing.assert_close(*boxes)


@pytest.mark.parametrize('weights', [{'backbone.w': 0}, {f'{HEAD}.0.fc_cls.weight': 0}])
def test_no_head_or_two_are_refused(weights):
    with pytest.raises(UsageError, match='one box head'):
        as_stages(weights)


def test_names_of_classes_go_along_and_the_input_stays(tmp_path, capsys):
    """Without them a test takes data of the same number of classes in another order."""
    told = dict(classes=('car', 'bus'))
    plain = str(tmp_path / 'plain.pth')
    weights = {f'{HEAD}.fc_cls.weight': torch.zeros(3, 5)}
    torch.save(dict(meta=dict(dataset_meta=told, epoch=3), state_dict=weights), plain)
    assert run(convert, parser(), [plain, str(tmp_path / 'stages.pth')]) == 0
    assert load_checkpoint_file(tmp_path / 'stages.pth')['meta'] == dict(dataset_meta=told)
    assert run(convert, parser(), [plain, plain]) == 2
    assert 'is what is read here' in capsys.readouterr().err
    assert set(load_checkpoint_file(plain)['state_dict']) == set(weights)


def test_a_plain_head_given_to_two_looks_is_told_of_the_tool():
    """Both looks began with random weights, and only their names were told."""

    def model(stages):
        plain = torch.nn.Module()
        plain.backbone, plain.roi_head = torch.nn.Linear(2, 2), torch.nn.Module()
        heads = [torch.nn.ModuleDict(dict(fc_cls=torch.nn.Linear(2, 3))) for _ in range(stages)]
        plain.roi_head.bbox_head = torch.nn.ModuleList(heads) if stages > 1 else heads[0]
        return plain

    plain = model(1).state_dict()
    assert 'plain_to_stages.py' in check_start(plain, model(2), 'plain.pth')
    for others in (model(1), model(3)):
        assert 'plain_to_stages' not in (check_start(plain, others, 'plain.pth') or '')
    assert check_start(as_stages(plain), model(2), 'stages.pth') is None
