import errno
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmclarity.engine.hooks.checkpoint import AtomicLocalBackend
from mmclarity.errors import OutputError, UsageError
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
    assert not list(tmp_path.rglob('*.part'))
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


def with_scores(monkeypatch, *scores):
    """Validations give these numbers."""
    numbers = iter(scores)
    monkeypatch.setattr(
        'tests.engine.toy_parts.ToyMetric.compute_metrics',
        lambda self, results: dict(mean=next(numbers)),
    )


def build_with_best(tmp_path, **options):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.default_hooks.checkpoint = dict(
        type='AtomicCheckpointHook', interval=1, save_best='toy/mean', rule='greater', **options
    )
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = str(tmp_path).replace('/', '-')
    return Runner.from_cfg(cfg)


def test_the_former_best_goes_after_the_new_one_is_there(tmp_path, monkeypatch):
    work = tmp_path / 'work'
    with_scores(monkeypatch, 1.0, 2.0, 0.5, 3.0)
    replace, seen = os.replace, []

    def note(source, target):
        if Path(target).name.startswith('best_'):
            seen.append(sorted(file.name for file in work.glob('best_*.pth')))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', note)
    build_with_best(tmp_path, max_keep_ckpts=1).train()
    assert seen == [[], ['best_toy_mean_epoch_1.pth'], ['best_toy_mean_epoch_2.pth']]
    assert sorted(file.name for file in work.glob('*.pth')) == [
        'best_toy_mean_epoch_4.pth',
        'epoch_4.pth',
    ]


def test_killed_while_the_new_best_is_written_keeps_the_old(tmp_path, monkeypatch):
    with_scores(monkeypatch, 1.0, 2.0)
    replace = os.replace

    def replace_unless_second(source, target):
        if str(target).endswith('best_toy_mean_epoch_2.pth'):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, 'replace', replace_unless_second)
    with pytest.raises(Killed):
        build_with_best(tmp_path).train()
    assert (tmp_path / 'work' / 'best_toy_mean_epoch_1.pth').is_file()


def test_a_disk_that_fills_up_keeps_earlier_checkpoints(tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if path.name.startswith('.epoch_2'):
            write(path, data[:100])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OutputError, match=r'epoch_2\.pth: the disk is full: .* needed, .* free'):
        build(tmp_path).train()
    work = tmp_path / 'work'
    assert find_latest(work).name == 'epoch_1.pth'
    assert torch.load(work / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1
    assert not list(work.glob('.*.part'))


def test_a_best_that_is_not_measured_names_what_is(tmp_path, monkeypatch):
    runner = build_with_best(tmp_path)
    with_scores(monkeypatch, 1.0)
    monkeypatch.setattr('tests.engine.toy_parts.ToyMetric.default_prefix', 'other')
    runner.val_evaluator.metrics[0].prefix = 'other'
    with pytest.raises(UsageError, match="save_best='toy/mean'.*no such number but other/mean"):
        runner.train()
