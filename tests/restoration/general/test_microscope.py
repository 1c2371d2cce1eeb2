"""What a network learns of one microscope: measured on its scans, laid on its clean images."""

import dataclasses

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter1d

from mmclarity.errors import CheckpointError, UsageError
from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.measure import measure_noise
from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.general import clean_examples, load_general, scan_pair
from mmclarity.restoration.general.adaptation import AdaptSettings, adapt_to_clean
from mmclarity.restoration.general.clean_examples import draw_clean_batch
from mmclarity.restoration.general.microscope import lesson
from mmclarity.restoration.general.verdict import error_blocks
from mmclarity.restoration.io import from_array, open_stack
from tests.restoration.general.scan_folders import (
    BLUR,
    GAIN,
    LAGS,
    OFFSET,
    SLOPE,
    clean_levels,
    quickly,
    read,
)

SMALL = AdaptSettings(steps=12, batch=2, size=64, lr=5e-4)


@pytest.fixture(scope='module')
def paired(scans):
    return lesson(read(scans / 'quick'), read(scans / 'slow'), say=lambda line: None)


def test_pairs_tell_what_a_quick_scan_does(paired):
    found = {name: value.value for name, value in paired.found.estimates.items()}
    assert found['slope'] == pytest.approx(SLOPE, rel=0.08)
    assert found['lag 1'] == pytest.approx(LAGS[0], abs=0.03)
    assert found['gain'] == pytest.approx(GAIN, rel=0.02)
    assert found['offset'] == pytest.approx(OFFSET, abs=2)
    assert found['blur along'] == pytest.approx(BLUR, abs=0.1)
    assert found['blur across'] < 0.25
    assert '(from 2 pairs)' in paired.describe() and 'share 0.4' in paired.describe()


def test_clean_images_come_in_the_levels_of_the_quick_ones(paired):
    for number, field in enumerate(paired.fields):
        clean = clean_levels(9400 + number)[: len(field.levels)] * GAIN + OFFSET
        assert np.abs(field.levels - clean).max() < 4


def test_judged_is_on_rows_that_nobody_learns_from(paired):
    rows = [len(field.levels) for field in paired.fields]
    first = 256 - 256 // scan_pair.KEPT_BACK
    assert {first - scan_pair.APART - n for n in (0, 1)} >= set(rows)  # pairs lie a little apart
    made, real = paired.scenes[:39], paired.scenes[39:]  # thirteen of each, and two pairs
    assert {scene.clean.shape for scene in made} == {(256 - first, 256)}
    assert len(made) == 39 and len(real) == 2
    for one, scene in zip(paired.held, real):
        assert scene.like == one.like and np.isfinite(scene.clean).all()
        assert scene.clean.size == np.isfinite(one.truth).sum()
        # the noise of the quick scan, and not a moved or made one
        assert scene.noisy[0, 0] in one.levels[:8, :8]
        off = np.std(scene.noisy - scene.clean) / (0.9 * one.like.sigma)
        assert off == pytest.approx(1, abs=0.25)
    for number, one in enumerate(paired.held):
        assert one.levels.shape == one.truth.shape == (256 - first, 256)
        known = np.isfinite(one.truth)
        assert known.mean() > 0.6 and not known.all()
        clean = clean_levels(9400 + number)[first:] * GAIN + OFFSET
        truth = (one.truth - one.like.offset) / one.like.gain * 255
        assert np.abs(truth - clean)[known].mean() < 2.5


def test_what_judges_is_not_taught_by_the_slow_scan_of_the_field(tmp_path):
    """It lies elsewhere in the file, the stage has moved, and the brightness was set anew."""
    clean = clean_levels(9450, 352)
    (tmp_path / 'quick').mkdir()
    (tmp_path / 'slow').mkdir()
    moved, more = 24, 20.0  # rows; grey levels
    for number, below in enumerate((0, 64)):  # rows that the slow file has more
        quick = quickly(clean[:256, :256] + number * more, number)
        tifffile.imwrite(tmp_path / 'quick' / f'{number}.tif', quick)
        slow = clean[moved : moved + 256 + below, :256].astype(np.uint8)
        tifffile.imwrite(tmp_path / 'slow' / f'{number}.tif', slow)
    found = lesson(read(tmp_path / 'quick'), read(tmp_path / 'slow'), say=lambda line: None)
    first = 256 - 256 // scan_pair.KEPT_BACK
    for number, (field, one) in enumerate(zip(found.fields, found.held)):
        assert first - moved - 18 <= len(field.levels) <= first - moved - scan_pair.APART
        assert len(one.levels) == 256 - first
        known = np.isfinite(one.truth)
        wanted = (clean[first:256, :256] + number * more) * GAIN + OFFSET
        truth = (one.truth - one.like.offset) / one.like.gain * 255
        assert np.abs(truth - wanted)[known].mean() < 3


def test_other_fields_teach_noise_and_contrast_alone(scans):
    for image in (quick := read(scans / 'quick')):
        assert image.path.stem in '01'
    said = []
    found = lesson(quick, read(scans / 'others'), say=said.append)
    assert len(said) == 2 and 'taken for images of two fields' in said[0]
    assert not found.found.pairs and 'nothing is known of blur' in found.describe()
    assert found.worse.ranges['blur'] is found.worse.ranges['line_blur'] is None
    assert {len(field.levels) for field in found.fields} == {256 - 51 - scan_pair.APART}
    assert all(one.truth is None and len(one.levels) == 256 for one in found.held)
    ends = [np.quantile(field.levels, (0.001, 0.999)) for field in found.fields]
    wanted = [np.quantile(clean_levels(9500 + n) * GAIN + OFFSET, (0.001, 0.999)) for n in range(3)]
    assert np.abs(np.mean(ends, 0) - np.mean(wanted, 0)).max() < 12


def test_pages_of_two_stacks_are_pairs(scans, tmp_path, paired):
    pages = {}
    for side in ('quick', 'slow'):
        (tmp_path / side).mkdir()
        stack = np.stack([tifffile.imread(scans / side / f'{n}.tif') for n in range(2)])
        tifffile.imwrite(tmp_path / side / 'stack.tif', stack)
        with open_stack(tmp_path / side / 'stack.tif') as opened:
            pages[side] = list(opened)
    found = lesson(pages['quick'], pages['slow'], say=lambda line: None)
    assert found.found.estimates['gain'] == paired.found.estimates['gain']
    assert len(found.held) == 2


def test_noise_is_that_of_the_quick_scans_and_the_network_is_told_of_it(paired, monkeypatch):
    monkeypatch.setattr(clean_examples, 'GENERAL', 0.0)
    monkeypatch.setattr(clean_examples, 'USUAL', 1.0)
    monkeypatch.setattr(paired.worse, 'ranges', paired.worse.ranges | {'line_blur': None})
    rng = np.random.default_rng(0)
    noisy, clean, told = draw_clean_batch(paired.fields, paired.worse, 48, 96, rng)
    assert noisy.shape == clean.shape == (48, 1, 96, 96) and told.shape == (48, 3)
    assert noisy.dtype == clean.dtype == told.dtype == torch.float32
    noise = (noisy - clean)[:, 0].double().numpy()
    variance = told[:, :1, None] * clean[:, 0] + told[:, 1:2, None]
    ratio = (noise**2).mean() / float(variance.double().mean())
    assert ratio == pytest.approx(1.0, rel=0.15)  # blur is left in edges, and what is told errs
    shared = (noise[..., 1:] * noise[..., :-1]).mean() / (noise**2).mean()
    assert shared == pytest.approx(LAGS[0], abs=0.05)
    assert float(told[:, 2].mean()) == pytest.approx(LAGS[0], abs=0.05)
    again = draw_clean_batch(paired.fields, paired.worse, 48, 96, np.random.default_rng(0))
    assert all(torch.equal(one, other) for one, other in zip((noisy, clean, told), again))


def test_lines_that_run_along_the_columns_are_turned(tmp_path):
    for turned in (False, True):
        for side in ('quick', 'slow'):
            (tmp_path / f'{side}{turned}').mkdir()
        for number in range(2):
            clean = clean_levels(9600 + number)
            quick = quickly(clean, number, (0.86, 0.72, 0.6, 0.48, 0.35))
            for side, image in (('quick', quick), ('slow', clean.astype(np.uint8))):
                path = tmp_path / f'{side}{turned}' / f'{number}.tif'
                tifffile.imwrite(path, image.T if turned else image)
    plain, turned = (
        lesson(read(tmp_path / f'quick{t}'), read(tmp_path / f'slow{t}'), say=lambda line: None)
        for t in (False, True)
    )
    assert all(one.turned for one in turned.held)
    for one, other in zip(plain.fields, turned.fields):
        np.testing.assert_allclose(one.levels, other.levels, atol=0.5)
    for one, other in zip(plain.held, turned.held):
        np.testing.assert_allclose(one.levels, other.levels, atol=0.01)


def flat_power(image):
    """Variance from line to line where the picture is flat."""
    found = measure_noise(image)
    return np.nansum(found.variance * found.pixels) / np.nansum(found.pixels)


def test_texture_is_not_taken_for_noise(tmp_path):
    for side in ('quick', 'slow'):
        (tmp_path / side).mkdir()
    for number in range(3):
        texture = np.random.default_rng(number).normal(0, 14, (256, 256))
        clean = np.rint((clean_levels(9800 + number) + texture).clip(0, 255)).astype(np.uint8)
        tifffile.imwrite(tmp_path / f'slow/{number}.tif', clean)
        noisy = quickly(clean.astype(np.float32), number)
        tifffile.imwrite(tmp_path / f'quick/{number}.tif', noisy)
    quick = read(tmp_path / 'quick')
    found = lesson(quick, read(tmp_path / 'slow'), say=lambda line: None)
    there = np.mean([flat_power(image.unit * 255) for image in quick])
    still = [image.unit * 255 * GAIN + OFFSET for image in read(tmp_path / 'slow')]
    texture = np.mean([flat_power(gaussian_filter1d(one, BLUR, axis=1)) for one in still])
    assert texture > 0.2 * there
    assert found.strength == pytest.approx(np.sqrt(1 - texture / there), abs=0.08)
    assert found.worse.correlation[0] == pytest.approx(LAGS[0], abs=0.12)
    again = [found.worse.degrade(one.levels, np.random.default_rng(7)) for one in found.fields]
    assert np.mean([flat_power(image) for image in again]) == pytest.approx(there, rel=0.1)


def test_some_of_the_quick_scans_may_be_alone(scans, tmp_path):
    quick = read(scans / 'quick')
    for number in range(3):
        noisy = quickly(clean_levels(9710 + number), 20 + number)
        tifffile.imwrite(tmp_path / f'alone{number}.tif', noisy)
    found = lesson([*quick, *read(tmp_path)], read(scans / 'slow'), say=lambda line: None)
    assert len(found.found.pairs) == len(found.held) == 2 and len(found.found.noise) == 5
    assert all(np.isfinite(found.found.estimates[name].error) for name in ('gain', 'slope'))


def test_the_error_is_that_to_the_slow_scan(paired):
    one = paired.held[0]
    known = np.isfinite(one.truth)
    errors = error_blocks(lambda levels: levels, one)
    variance = np.maximum(one.like.slope * one.truth.clip(0, 1) + one.like.intercept, 1e-6)
    wanted = ((one.levels - one.truth) ** 2 / variance)[known].mean()
    assert errors.mean() == pytest.approx(wanted, rel=0.1)
    # one yardstick for all networks: brighter is no better, though bright pixels have more noise
    brighter, darker = (
        error_blocks(lambda levels, sign=sign: np.nan_to_num(one.truth) + sign * 0.05, one).mean()
        for sign in (1, -1)
    )
    assert brighter == pytest.approx(darker, rel=1e-3)
    assert error_blocks(lambda levels: np.nan_to_num(one.truth), one).max() == 0


def damaged(path):
    """Weights that take only half of what they should away."""
    known = {name: value.contiguous() for name, value in load_general().state_dict().items()}
    save_file(known | {n: known[n] / 2 for n in known if n.startswith('last')}, path)
    return path


def test_what_is_learnt_is_kept_and_a_training_goes_on(paired, tmp_path, monkeypatch):
    monkeypatch.setattr('mmclarity.restoration.general.resumable.SAVED_EVERY', 4)
    start, resume = damaged(tmp_path / 'half.safetensors'), tmp_path / 'resume'
    paired = dataclasses.replace(paired, scenes=paired.scenes[::13])
    torch.manual_seed(0)
    whole = adapt_to_clean(paired, SMALL, start)
    assert whole.verdict.share > 0 and whole.verdict.after < 0.85 * whole.verdict.before
    card = whole.card('mine.safetensors')
    assert 'made worse as its quick scans are: noise of' in card
    assert 'dB (against the slow scans, ' in card and 'invented and' in card

    def stop(done, steps, loss):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt_to_clean(paired, SMALL, start, resume, stop)
    with pytest.raises(CheckpointError, match='begun with other images or settings'):
        adapt_to_clean(paired, AdaptSettings(steps=12, batch=1, size=64, lr=5e-4), start, resume)
    steps = []
    again = adapt_to_clean(
        paired, SMALL, start, resume, lambda done, steps_, loss: steps.append(done)
    )
    assert steps[0] == 5
    assert all(torch.equal(whole.state[name], again.state[name]) for name in whole.state)


def test_grey_levels_of_slow_scans_are_given_if_wanted(paired, tmp_path):
    assert paired.levels[:2] == pytest.approx((GAIN, OFFSET / 255), rel=0.1)
    assert paired.levels[2] is None  # white of 8 bits is 255
    weights = tmp_path / 'own.safetensors'
    adapted = adapt_to_clean(paired, AdaptSettings(steps=1, batch=1, size=64))
    adapted.save(weights)
    assert load_general(weights).manner.levels == paired.levels
    noisy = quickly(clean_levels(9700), 5)
    plain, slow = (Restorer(checkpoint=weights, slow_levels=on)(noisy) for on in (False, True))
    gain, offset, _ = paired.levels
    np.testing.assert_allclose(slow, ((plain - offset) / gain).clip(0, 1), atol=1e-6)
    truth = clean_levels(9700) / 255
    assert np.abs(slow - truth).mean() < np.abs(plain - truth).mean() / 1.3
    with pytest.raises(UsageError, match='known to weights that mmclarity-adapt --clean'):
        Restorer(slow_levels=True)
    found = Restorer(checkpoint=weights, slow_levels=True).with_doubts(noisy)
    of_noisy = Restorer(checkpoint=weights).with_doubts(noisy)
    np.testing.assert_allclose(found.restored, slow, atol=1e-6)
    np.testing.assert_allclose(found.std, of_noisy.std / gain, atol=1e-6)
    np.testing.assert_allclose(found.mean, ((of_noisy.mean - offset) / gain).clip(0, 1), atol=1e-6)
    floating = noisy.astype(np.float32)
    for image in (floating, from_array(floating, 'measured')):
        with pytest.raises(UsageError, match='give --data-range'):
            Restorer(checkpoint=weights, slow_levels=True)(image)
    # trained further on images that do not tell them, they are those of before
    alone = dataclasses.replace(paired, found=dataclasses.replace(paired.found, pairs=[]))
    again = adapt_to_clean(alone, AdaptSettings(steps=1, batch=1, size=64), weights)
    assert alone.levels is None and again.manner.levels == paired.levels


@pytest.mark.parametrize('linear', [True, False])
def test_twelve_bits_in_files_of_sixteen_have_the_same_noise(linear):
    """Their grey levels, 0 to 16 of 255, leave no decimals to round."""
    clean = clean_levels(9800)
    levels = clean * GAIN + OFFSET
    variance = SLOPE * levels if linear else 20 + 0.02 * np.square(levels - 130)
    noisy = detector_noise(levels, variance, line_filter(LAGS), np.random.default_rng(0), None)
    deviations = []
    for white in (65535, 4095):
        quick, slow = (
            from_array(np.rint(image.clip(0, 255) / 255 * white).astype(np.uint16))
            for image in (noisy, clean)
        )
        found = lesson([quick], [slow], say=lambda line: None)
        assert (found.worse.variance is None) == linear
        flat = np.full((400, 400), np.median(found.fields[0].levels), np.float32)
        worse = found.worse.degrade(flat, np.random.default_rng(0))
        deviations.append(worse.std() / white)
    assert deviations[1] == pytest.approx(deviations[0], rel=0.02)
