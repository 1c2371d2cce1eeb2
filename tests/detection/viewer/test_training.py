"""The pictures of attention, drawn by a whole training as a user starts it."""

from collections import OrderedDict

import cv2
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.visualization import DetLocalVisualizer
from mmengine.registry import DefaultScope

from mmclarity.cli.train import main
from mmclarity.engine.config import load_config
from tests.running import REPO
from tools.dataset_generators import make_murky

CONFIG = 'configs/lambda_frcnn_murky.py'
TEXT = f"""
_base_ = {str(REPO / CONFIG)!r}
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', momentum=0.5),
    dict(type='AttentionVisualizationHook', images=2, threshold=0.2),
]
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
train_dataloader = dict(batch_size=2)
val_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=1, val_interval=1)
"""


@pytest.fixture
def start(tmp_path):
    """Bare weights, without anything around them, that name what they see."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(CONFIG).model)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


def test_a_training_draws_what_its_validation_looked_at(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # mmengine keeps the first visualizer of a process, with the folder of its run.
    monkeypatch.setattr(DetLocalVisualizer, '_instance_dict', OrderedDict())
    data = ['murky', '--train', '4', '--val', '6', '--jobs', '1']
    assert make_murky.main(data) == 0
    (tmp_path / 'mine.py').write_text(TEXT)
    options = ['data_root=murky/', f'load_from={start}', 'optim_wrapper.optimizer.lr=1e-9']
    assert main(['mine.py', '--work-dir', 'run', '--cfg-options', *options]) == 0
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    pictures = sorted((tmp_path / 'run').rglob('attention_*.png'))
    # Two of three batches of the one validation, after both iterations of the epoch.
    assert [path.name for path in pictures] == ['attention_0_2.png', 'attention_1_2.png']
    for path in pictures:
        picture = cv2.imread(str(path))
        assert picture.shape == (576, 960, 3)
        # Lines, boxes and words are brighter and of more colour than the darkened scene.
        assert (picture.max(2).astype(int) - picture.min(2) > 100).mean() > 0.002
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
