"""Whatever is wrong with a file, there is one message, and it names the file."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mmclarity.cli.main import message
from mmclarity.detection.datasets.image_files import probe_images
from mmclarity.detection.datasets.scalabel import load_frames
from mmclarity.engine.checks import check_config
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from mmclarity.restoration.io.micrograph import read_sem, write_sem
from mmclarity.restoration.io.stack import open_stack, rewriting_stack
from mmclarity.rsa.data.neural import load_neural
from mmclarity.rsa.data.stimuli import StimulusSet
from mmclarity.utils import child
from mmclarity.utils.checkpoints import check_fits, load_checkpoint_file
from tests.fuzz_files import damaged

SEED = int(os.environ.get('MMCLARITY_FUZZ_SEED', '20'))
MODEL = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def _restore(path: Path) -> None:
    image = read_sem(path)
    write_sem(path.with_name(f'restored{path.suffix}'), image.unit, image, overwrite=True)


def _restore_stack(path: Path) -> None:
    suffix = '.tif' if path.suffix == '.jpg' else path.suffix
    reading = dict(annotations='keep', data_range='measured')
    with (
        open_stack(path, **reading) as stack,
        rewriting_stack(path.with_name(f'restored{suffix}'), path, overwrite=True) as put,
    ):
        for image in stack:
            put(image.unit, image)


def _config(path: Path) -> None:
    check_config(load_config(str(path)))


def _by_key(path: Path) -> None:
    key = '' if path.suffix in ('.npy', '.gz', '.csv') else ':it'
    load_neural('it', f'{path}{key}')


READERS = dict(
    images=[_restore, _restore_stack, lambda path: probe_images([str(path)]),
            lambda path: StimulusSet([path.stem], [path], size=8).image(0)],
    labels=[load_frames],
    recordings=[lambda path: load_neural('it', path), _by_key],
    checkpoints=[lambda path: check_fits(load_checkpoint_file(path), MODEL, str(path))],
    configs=[_config],
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(child, 'SECONDS', 3.0)


def _faults(kind: str, count: int, folder: Path, seed: int) -> list[str]:
    """What did not end well: without words, without the file's name, or not with our error."""
    faults, refused = [], 0
    for path in damaged(kind, count, folder, seed):
        for reader in READERS[kind]:
            try:
                reader(path)
            except (UsageError, FileNotFoundError) as error:
                refused += 1
                text = message(error)
                if str(path) not in text:
                    faults.append(f'{path.name}: does not name the file: {text}')
            except Exception as error:
                faults.append(f'{path.name}: {type(error).__module__}.{type(error).__name__}: '
                              f'{error}')  # fmt: skip
    assert refused > count / 10  # the damage is real
    return faults


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'count'),
    [
        ('images', 1000),
        ('labels', 350),
        ('recordings', 350),
        ('checkpoints', 200),
        ('configs', 100),
    ],
)
def test_two_thousand_damaged_files(tmp_path, caplog, capfd, kind, count):
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        warnings.simplefilter('ignore')
        faults = _faults(kind, count, tmp_path, SEED)
    assert not faults, f'{len(faults)} of {count}:\n' + '\n'.join(faults[:20])
    said = [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and not record.name.startswith('PIL')
    ]
    assert not said, said[:5]
    printed = capfd.readouterr()
    assert not printed.out
    # libtiff, which Pillow uses, writes past Python.
    assert kind == 'images' or not printed.err


@pytest.mark.parametrize('kind', list(READERS))
def test_a_few_of_each(tmp_path, kind):
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        warnings.simplefilter('ignore')
        assert not _faults(kind, 20, tmp_path, SEED + 1)
