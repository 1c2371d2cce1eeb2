"""What ships, as a file that everything else takes."""

import pytest
import torch

from mmclarity.cli.main import run
from mmclarity.detection import Detector
from mmclarity.detection.shipped import shipped_weights
from mmclarity.detection.trunk_cache.make import build_trunk
from mmclarity.engine.config import load_config
from tools.model_converters.plain_to_stages import as_stages
from tools.model_converters.shipped_to_checkpoint import convert, parser


def make(*arguments: str) -> int:
    return run(convert, parser(), [*map(str, arguments)])


def test_it_loads_where_checkpoints_load(tmp_path):
    path = tmp_path / 'plain.pth'
    assert make('plain', path) == 0
    config = 'configs/frcnn_bdd100k_fine.py'
    own, shipped = Detector(config, str(path), 'cpu'), Detector(device='cpu', plain=True)
    assert own.classes == shipped.classes
    theirs = shipped.inferencer.model.state_dict()
    mine = own.inferencer.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)

    trunk = build_trunk(load_config(config), str(path)).state_dict()
    assert torch.equal(trunk['neck.fpn_convs.0.conv.weight'], mine['neck.fpn_convs.0.conv.weight'])
    stages = as_stages(torch.load(path, weights_only=True)['state_dict'])
    two = shipped_weights('two_looks')
    assert stages['roi_head.bbox_head.1.fc_cls.weight'].shape == (
        two['roi_head.bbox_head.1.fc_cls.weight'].shape
    )


def test_nothing_is_replaced_unasked(tmp_path, capsys):
    path = tmp_path / 'plain.pth'
    path.write_text('mine')
    assert make('plain', path) == 2
    assert 'plain.pth: exists already' in capsys.readouterr().err
    assert path.read_text() == 'mine'
    with pytest.raises(SystemExit):
        make('other', path)
    assert 'invalid choice' in capsys.readouterr().err
    assert make('plain', path, '--overwrite') == 0
    assert path.stat().st_size > 10_000_000
