"""Class lists that do not match stop a run before its first iteration."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn

from mmclarity.cli import options as cli_options
from mmclarity.cli import test as cli_test
from mmclarity.cli import train as cli_train
from mmclarity.engine.hooks.class_lists import ClassListHook, compare
from mmclarity.errors import UsageError
from tests.engine.toy_parts import ToyImages


@DATASETS.register_module()
class NamedImages(ToyImages):
    def __init__(self, classes=None, **kwargs):
        super().__init__(**kwargs)
        self.metainfo = dict(classes=classes) if classes else {}


@MODELS.register_module()
class NamedModel(BaseModel):
    """Counts its training steps in the place where mmdet's heads have their classes."""

    steps = 0

    def __init__(self, num_classes=3, **kwargs):
        super().__init__(**kwargs)
        self.bbox_head = nn.Linear(64, num_classes)
        self.bbox_head.num_classes = num_classes

    def forward(self, inputs, label, mode='tensor'):
        logits = self.bbox_head(torch.stack(list(inputs)).flatten(1))
        if mode != 'loss':
            return [dict(score=row) for row in logits]
        NamedModel.steps += 1
        return dict(loss=logits.square().mean())


CONFIG = """
default_scope = 'mmengine'
model = dict(type='NamedModel')
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(
    type='NamedImages', length=4, classes=['a', 'b', 'c']),
    sampler=dict(type='DefaultSampler', shuffle=False))
val_dataloader = train_dataloader
test_dataloader = train_dataloader
val_evaluator = test_evaluator = dict(type='ToyMetric')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(NamedModel, 'steps', 0)
    (tmp_path / 'named.py').write_text(CONFIG)
    return 'named.py'


def train(config, *options):
    cli_train.train(
        cli_options.train_parser().parse_args(
            [config, '--work-dir', 'work', *(['--cfg-options', *options] if options else [])]
        )
    )


def test(config, checkpoint, *options):
    cli_test.test_model(
        cli_options.test_parser().parse_args(
            [
                config,
                checkpoint,
                '--work-dir',
                'work',
                *(['--cfg-options', *options] if options else []),
            ]
        )
    )


test.__test__ = False
TRAIN, VAL, TEST = (f'{part}_dataloader.dataset.classes' for part in ('train', 'val', 'test'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['model.num_classes=5'],
            r'bbox_head has num_classes=5, but the training data has 3 classes.*'
            r'--cfg-options model\.\S*bbox_head\.num_classes=3',
        ),
        ([f'{TRAIN}=[a,b]', f'{VAL}=[a,b]'], r'num_classes=3, but the training data has 2 classes'),
        ([f'{VAL}=[a,c,b]'], r"'b' is class 1 of one and 2 of the other"),
        ([f'{VAL}=[c,a]'], r'num_classes=3, but the validation data has 2'),
    ],
)
def test_training_does_not_start(config, options, message):
    with pytest.raises(UsageError, match=message):
        train(config, *options)
    assert NamedModel.steps == 0


def test_testing_and_resuming_compare_with_the_checkpoint(config):
    train(config)
    assert NamedModel.steps == 1
    test(config, 'work/epoch_1.pth')
    message = r'the checkpoint: a, b, c\n  the test data: a, c, b\n  Give a checkpoint that was'
    with pytest.raises(UsageError, match=message):
        test(config, 'work/epoch_1.pth', f'{TEST}=[a,c,b]')
    with pytest.raises(UsageError, match=r'(?s)the checkpoint: a, b, c.*\n  Set metainfo'):
        cli_train.train(
            cli_options.train_parser().parse_args(
                [
                    config,
                    '--work-dir',
                    'work',
                    '--resume',
                    '--cfg-options',
                    'train_cfg.max_epochs=2',
                    f'{TRAIN}=[b,a,c]',
                    f'{VAL}=[b,a,c]',
                ]
            )
        )
    # What training only starts from may have had other classes.
    train(config, 'load_from=work/epoch_1.pth', f'{TRAIN}=[b,a,c]', f'{VAL}=[b,a,c]')
    assert NamedModel.steps == 2


def test_spellings_are_warned_about_and_no_lists_are_left_alone(config, caplog):
    class Silent:
        logger = logging.getLogger('class-lists')

    with caplog.at_level(logging.WARNING, 'class-lists'):
        compare(Silent, 'one', ('person', 'car'), 'other', ('pedestrian', 'car'))
    assert 'one: person, car\n  other: pedestrian, car' in caplog.text
    caplog.clear()
    compare(Silent, 'one', (), 'other', ('car',))
    compare(Silent, 'one', ('car',), 'other', ('car',))
    assert not caplog.text
    train(config, f'{TRAIN}=[]', f'{VAL}=[]', 'model.num_classes=7')


def test_a_loop_over_several_data_sets_is_left_alone():
    several = SimpleNamespace(dataloaders=[1, 2])
    runner = SimpleNamespace(_test_loop=several, _train_loop=None, model=nn.Linear(1, 1))
    ClassListHook().before_test(runner)


def test_heads_of_a_detector_are_found():
    from mmclarity.engine.hooks.class_lists import _head_classes

    model = nn.ModuleDict(
        dict(
            backbone=nn.Linear(1, 1),
            rpn_head=nn.Linear(1, 1),
            roi_head=nn.ModuleDict(
                dict(
                    bbox_head=nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]),
                    mask_head=nn.Linear(1, 1),
                )
            ),
        )
    )
    model['backbone'].num_classes = 1000
    model['rpn_head'].num_classes = 1
    for number, head in enumerate(
        (*model['roi_head']['bbox_head'], model['roi_head']['mask_head'])
    ):
        head.num_classes = number
    assert _head_classes(model) == [
        ('roi_head.bbox_head.0', 0),
        ('roi_head.bbox_head.1', 1),
        ('roi_head.mask_head', 2),
    ]
    assert ClassListHook.priority == 'VERY_HIGH'
