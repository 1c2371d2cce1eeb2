import os

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmclarity.engine.hooks.checkpoint import AtomicLocalBackend
from mmclarity.utils.checkpoints import find_latest
from tests.engine.toy_parts import write_config


class Killed(BaseException):
    """Nothing after it runs, as after SIGKILL."""


def killed(*args):
    raise Killed


def build(tmp_path, **options):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.default_hooks.checkpoint.type = 'AtomicCheckpointHook'
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.merge_from_dict(options)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = str(tmp_path).replace('/', '-')
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize('moment', ['fsync', 'replace'])
def test_killed_while_writing_keeps_the_old_file(tmp_path, monkeypatch, moment):
    backend, path = AtomicLocalBackend(), tmp_path / 'new' / 'a.pth'
    backend.put(b'old', path)
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, killed)
        with pytest.raises(Killed):
            backend.put(b'newer', path)
    assert path.read_bytes() == b'old'
    assert not list(tmp_path.rglob('*.part')) or find_latest(path.parent) is None
    backend.put(b'newest', path)
    assert path.read_bytes() == b'newest'
    assert [item.name for item in path.parent.iterdir()] == ['a.pth']


def test_killed_in_the_second_save_leaves_the_first(tmp_path, monkeypatch):
    runner = build(tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    replace, work = os.replace, tmp_path / 'work'

    def replace_unless_second(source, target):
        if str(target).endswith('epoch_2.pth'):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, 'replace', replace_unless_second)
    with pytest.raises(Killed):
        runner.train()
    assert [file.name for file in work.glob('*.pth')] == ['epoch_1.pth']
    assert find_latest(work).name == 'epoch_1.pth'
    assert torch.load(find_latest(work), weights_only=True)['meta']['epoch'] == 1


@pytest.mark.parametrize('keep, left', [(1, {4}), (2, {3, 4}), (-1, {1, 2, 3, 4})])
def test_outdated_checkpoints_go(tmp_path, keep, left):
    build(tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': keep}).train()
    work = tmp_path / 'work'
    assert {file.name for file in work.glob('*.pth')} == {f'epoch_{n}.pth' for n in left}
    assert find_latest(work) == work / 'epoch_4.pth'
    assert not list(work.glob('.*.part'))
