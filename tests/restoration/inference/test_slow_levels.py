"""Grey levels of slow scans hold for one white: that of the quick scans that taught them."""

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from mmclarity.cli.restore import main
from mmclarity.errors import CheckpointError, UsageError
from mmclarity.restoration import Restorer
from mmclarity.restoration.general import load_general, microscope
from mmclarity.restoration.general.adaptation import AdaptSettings, adapt_to_clean
from mmclarity.restoration.io import from_array

GAIN, OFFSET = 0.5, 0.1


@pytest.fixture(scope='module')
def picture():
    """(96, 96) uint16 of twelve bits."""
    rows, columns = np.indices((96, 96))
    clean = 0.4 + 0.2 * np.sin(rows / 9) * np.cos(columns / 7)
    noisy = clean + 0.03 * np.random.default_rng(0).standard_normal(clean.shape)
    return np.rint(4095 * noisy).astype(np.uint16)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Weights that learnt levels, with white as it was said then."""
    folder = tmp_path_factory.mktemp('weights')
    state = {name: value.contiguous() for name, value in load_general().state_dict().items()}

    def written(*levels):
        told = ' '.join(map(str, levels))
        path = folder / f'{told.replace(" ", "_")}.safetensors'
        save_file(state, path, metadata=dict(levels=told))
        return path

    return written


def test_levels_hold_for_the_white_that_they_were_learnt_with(weights, picture):
    given, as_typed = weights(GAIN, OFFSET, 4095.0), weights(GAIN, OFFSET)
    plain = Restorer(checkpoint=given)(picture, data_range=4095)
    slow = Restorer(checkpoint=given, slow_levels=True)(picture, data_range=4095)
    np.testing.assert_allclose(slow, ((plain - OFFSET) / GAIN).clip(0, 1), atol=1e-6)
    for wrong in (None, 65535, 1023 * 8):
        with pytest.raises(UsageError, match='4095 where .*give --data-range 4095'):
            Restorer(checkpoint=given, slow_levels=True)(picture, data_range=wrong)
    # of the type: 65535 in 16 bits, 255 in 8, whether it is said or not
    restorer = Restorer(checkpoint=as_typed, slow_levels=True)
    eight = np.rint(picture / 4095 * 255).astype(np.uint8)
    for image, white in ((picture, None), (picture, 65535), (eight, None), (eight, 255)):
        restorer(image, data_range=white)
    with pytest.raises(UsageError, match='white is 4095, and was the largest.*leave out --data-r'):
        restorer(picture, data_range=4095)
    # floating point, whose range is given
    levels = (picture / 4095).astype(np.float32)
    units = Restorer(checkpoint=weights(GAIN, OFFSET, 1.0), slow_levels=True)
    assert np.abs(units(levels, data_range=1.0) - slow).mean() < 1e-3
    with pytest.raises(UsageError, match='give --data-range, the same'):
        units(levels)
    of_type = restorer(levels, data_range=1.0)  # learnt with 255 of 8 bits, say
    assert np.abs(of_type - slow).mean() < 1e-3
    with pytest.raises(UsageError, match='white is 255, and was 1 where'):
        units(255 * levels, data_range=255.0)
    # without --slow-levels, nobody minds
    for path in (given, as_typed):
        Restorer(checkpoint=path)(picture)


def test_weights_of_two_whites_do_not_go_together(weights):
    one, other = weights(GAIN, OFFSET, 4095.0), weights(GAIN, OFFSET)
    with pytest.raises(UsageError, match='different --data-range'):
        Restorer(checkpoint=[one, other], slow_levels=True)
    same = weights(0.7, 0.3)
    both = Restorer(checkpoint=[other, same], slow_levels=True)
    assert (both.levels.gain, both.levels.offset) == pytest.approx((0.6, 0.2))
    for bad in ('0.5', '0.5 0.1 255 1', '0.5 much'):
        with pytest.raises(CheckpointError, match='can not be read'):
            load_general(weights(*bad.split()))


def test_the_command_says_which_white_is_meant(weights, picture, tmp_path, capsys):
    tifffile.imwrite(tmp_path / 'quick.tif', picture)
    command = [str(tmp_path / 'quick.tif'), str(tmp_path / 'slow.tif'), '--slow-levels']
    command += ['--checkpoint', str(weights(GAIN, OFFSET, 4095.0))]
    assert main(command) == 2
    assert 'give --data-range 4095' in capsys.readouterr().err
    assert not (tmp_path / 'slow.tif').exists()
    assert main([*command, '--data-range', '4095']) == 0
    restored = tifffile.imread(tmp_path / 'slow.tif') / 4095
    middle = (np.median(picture) / 4095 - OFFSET) / GAIN
    assert np.median(restored) == pytest.approx(middle, abs=0.02)


def test_a_lesson_knows_the_white_of_its_quick_scans(monkeypatch, tmp_path):
    rows, columns = np.indices((160, 160))
    clean = 100 + 60 * np.sin(rows / 5) * np.cos(columns / 6) + (rows + columns) / 8
    noisy = clean + 8 * np.random.default_rng(1).standard_normal(clean.shape)
    for white in (None, 4080):
        quick, slow = (
            [from_array(np.rint(16 * image).clip(0, 4080).astype(np.uint16), white)]
            for image in (noisy, clean)
        )
        for side, images in (('quick', quick), ('slow', slow)):
            images[0].path = tmp_path / side / 'a.tif'
        found = microscope.lesson(quick, slow, say=lambda line: None)
        assert found.levels is not None and found.levels[2] == white
        settings = AdaptSettings(steps=1, batch=1, size=32)
        torch.manual_seed(0)
        adapt_to_clean(found, settings).save(tmp_path / f'{white}.safetensors')
        assert load_general(tmp_path / f'{white}.safetensors').manner.levels == found.levels
