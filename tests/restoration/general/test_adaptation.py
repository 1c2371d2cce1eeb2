"""Adaptation to noisy images: what is hidden, the error without clean images, and its gain."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from mmclarity.errors import CheckpointError, DataError, UsageError
from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.general import (
    GeneralUNet,
    adaptation,
    load_general,
    resumable,
    verdict,
)
from mmclarity.restoration.general.adaptation import (
    AdaptSettings,
    adapt,
    join_scans,
)
from mmclarity.restoration.general.appraisal import Appraisal
from mmclarity.restoration.general.blind_spot import (
    NoisyField,
    blinded,
    draw_batch,
    noisy_field,
)
from mmclarity.restoration.general.verdict import Verdict, as_used, error_blocks
from mmclarity.restoration.io.micrograph import from_array
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SMALL = AdaptSettings(steps=60, batch=4, size=64, lr=5e-4)


def phantom(seed, size=224):
    return make_phantom(PhantomSettings(size, median_radius=7), seed).image


def smeared(clean, sigma, lags, seed):
    variance = np.full(clean.shape, sigma**2, np.float32)
    rng = np.random.default_rng(seed)
    return detector_noise(clean.astype(np.float32), variance, line_filter(lags), rng, None)


def impulses(clean, seed):
    rng = np.random.default_rng(seed)
    noisy = clean + 0.04 * rng.standard_normal(clean.shape)
    struck = rng.uniform(size=clean.shape) < 0.04
    noisy[struck] = rng.choice([-0.5, 1.5], struck.sum())
    return noisy.astype(np.float32)


def field_of(noisy):
    return noisy_field(from_array(noisy, 'measured'))


@pytest.mark.parametrize(('lags', 'along'), [((), 0), ((0.5, 0.12), 2), ((0.6, 0.36, 0.2), 3)])
def test_what_is_hidden_is_as_long_as_the_noise_is_smeared(lags, along):
    assert field_of(smeared(phantom(9200), 0.1, lags, 0)).along == pytest.approx(along, abs=1)


@pytest.mark.parametrize(('along', 'across'), [(0, 0), (3, 0), (2, 1)])
@pytest.mark.parametrize('shape', [(64, 64), (33, 40)])
def test_a_hidden_pixel_is_gone_with_its_neighbours(along, across, shape):
    # every pixel is its own number, so that what comes from where can be told
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    shown, asked = blinded(numbers, along, across, np.random.default_rng(0))
    assert 5 < asked.sum() < asked.size / 8
    for y, x in zip(*np.nonzero(asked)):
        for row in range(max(0, y - across), min(shape[0], y + across + 1)):
            for column in range(max(0, x - along), min(shape[1], x + along + 1)):
                source = divmod(int(shown[row, column]), shape[1])
                assert source[0] != row  # never its own line
    far = np.ones(shape, bool)
    for y, x in zip(*np.nonzero(asked)):
        far[max(0, y - across) : y + across + 1, max(0, x - along) : x + along + 1] = False
    assert (shown[far] == numbers[far]).all()


@pytest.mark.parametrize('kind', ['white', 'smeared', 'impulses'])
def test_error_is_told_without_a_clean_image(kind):
    clean = np.full((300, 300), 0.4) + 0.3 * (np.indices((300, 300)).sum(0) % 100 > 50)
    clean = gaussian_filter(clean, 3)
    lags = (0.5, 0.1) if kind == 'smeared' else ()
    noisy = impulses(clean, 1) if kind == 'impulses' else smeared(clean, 0.1, lags, 1)
    one = field_of(noisy)
    levels = (noisy - noisy.min()) / np.ptp(noisy)
    assert np.allclose(levels * one.like.gain + one.like.offset, one.levels, atol=1e-3)
    truth = (clean - noisy.min()) / np.ptp(noisy) * one.like.gain + one.like.offset
    variance = np.clip(one.like.slope * np.clip(truth, 0, 1) + one.like.intercept, 1e-6, None)
    said, real = [], []
    for sigma in (0.01, 0.7, 2.0):
        said.append(error_blocks(lambda levels, s=sigma: gaussian_filter(levels, s), one).mean())
        out = gaussian_filter(one.levels, sigma)
        real.append(np.mean((out - truth) ** 2 / variance))
    assert np.argsort(said).tolist() == np.argsort(real).tolist() == [2, 1, 0]
    assert np.allclose(said, real, rtol=0.25, atol=0.06 * real[0])


def test_judged_is_what_images_are_restored_by(monkeypatch):
    # what is put back afterwards is left out: of a hidden pixel it would show what is hidden
    guard = 'mmclarity.restoration.inference.restorer.guard'
    monkeypatch.setattr(guard, lambda *_: (0.0, 0.0))
    image = from_array(smeared(phantom(9250, 120), 0.1, (), 2), 'measured')
    one = noisy_field(image)
    restored = Restorer(dtype='float32')(image)
    wanted = (restored * one.like.gain + one.like.offset).clip(0, 1)
    with torch.no_grad():
        judged = as_used(load_general(), one)(one.levels)
    inside = (restored > 0) & (restored < 1)
    np.testing.assert_allclose(judged[inside], wanted[inside], atol=1e-3)


def test_a_gain_is_told_where_the_estimate_is_below_zero():
    """The noise was taken for more than it is."""
    errors = (-0.2, -0.3, -0.45, -0.4, -0.1)
    verdict = Verdict(0.5, -0.2, 1e-6, 4.0, errors)
    assert 'by 0.25 of the variance of noise (' in verdict.describe()
    assert 'by 3.01 dB' in Verdict(0.5, 0.2, 0.1, 4.0, (0.2,) * 2 + (0.1,)).describe()


def test_noise_that_is_not_known_is_learnt(tmp_path):
    """The network that ships knows these impulses; one that takes half of it away does not."""
    from safetensors.torch import save_file

    start = tmp_path / 'half.safetensors'
    known = {name: value.contiguous() for name, value in load_general().state_dict().items()}
    save_file(known | {n: known[n] / 2 for n in known if n.startswith('last')}, start)
    torch.manual_seed(0)
    fields = [field_of(impulses(phantom(9300 + i, 192), i)) for i in range(2)]
    result = adapt(fields, SMALL, start)
    assert result.verdict.share > 0 and result.verdict.surety > 2
    assert 'better on rows kept back' in result.verdict.describe()
    # an image that training did not have, at the same settings
    test, truth = impulses(phantom(9310, 192), 9), phantom(9310, 192)
    one, net, errors = field_of(test), load_general(start), []
    for state in (net.state_dict(), result.state):
        net.load_state_dict(state)
        with torch.no_grad():
            noise = torch.tensor([one.like.told()], dtype=torch.float32)
            out = net(torch.from_numpy(one.levels)[None, None], noise)[0, 0].numpy()
        back = (out - one.like.offset) / one.like.gain * np.ptp(test) + test.min()
        errors.append(np.mean((back - truth) ** 2))
    assert errors[1] < errors[0] / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_learns_what_the_cpu_learns(tmp_path):
    one = field_of(impulses(phantom(9300, 192), 0))
    settings = AdaptSettings(steps=3, batch=2, size=64)
    learnt, losses = [], []
    for device in ('cpu', 'cuda'):
        progress = lambda done, steps, loss: losses.append(loss)  # noqa: E731
        learnt.append(adapt([one], settings, progress=progress, device=device))
    assert losses[:3] == pytest.approx(losses[3:], rel=0.1)
    assert all(value.device.type == 'cpu' for value in learnt[1].state.values())
    learnt[1].images.append('no\udcfctext.tif')  # a name of an old disk: the card was not written
    learnt[1].save(tmp_path / 'mine.safetensors')
    load_general(tmp_path / 'mine.safetensors')
    assert r'no\udcfctext.tif' in (tmp_path / 'mine.md').read_text(encoding='utf-8')


def test_noise_that_is_known_already_is_left_alone_or_not_made_worse():
    clean = phantom(9320, 192)
    one = field_of(smeared(clean, 0.1, (0.5, 0.1), 3))
    result = adapt([one], AdaptSettings(steps=20, batch=2, size=64, lr=1e-3))
    if not result.verdict.share:
        kept = load_general().state_dict()
        assert all(torch.equal(kept[name], value) for name, value in result.state.items())
        assert 'its weights are kept' in result.verdict.describe()
    assert result.verdict.after <= result.verdict.before


def test_scans_teach_one_another():
    clean = phantom(9330)
    first, second = (smeared(clean, 0.15, (), i) for i in range(2))
    moved = np.roll(second, (2, -3), (0, 1))
    joined = join_scans([field_of(first), field_of(moved)])
    (scan,) = joined.scans
    seen = np.isfinite(scan)
    assert 0.9 < seen.mean() < 1
    aligned = gaussian_filter(second, 2) - gaussian_filter(clean, 2)
    back = (scan - joined.like.offset) / joined.like.gain * np.ptp(first) + first.min()
    inner = (slice(20, -20), slice(20, -20))
    # it lies where it was before it was moved, noise included
    assert np.corrcoef(back[inner].ravel(), second[inner].ravel())[0, 1] > 0.9
    assert abs(aligned.mean()) < 0.01
    batch = draw_batch([joined], 3, 64, np.random.default_rng(0))
    assert batch.asked.mean() > 0.8 and not np.allclose(batch.shown, batch.target)
    assert np.isfinite(batch.shown).all() and np.isfinite(batch.target).all()


def test_scans_of_different_fields_are_refused():
    fields = [field_of(smeared(phantom(9340 + i), 0.05, (), i)) for i in range(2)]
    with pytest.raises(DataError, match='does not show the field'):
        join_scans(fields)
    with pytest.raises(DataError, match='at least two'):
        join_scans(fields[:1])
    with pytest.raises(DataError, match='one size'):
        join_scans([fields[0], field_of(smeared(phantom(1, 128), 0.05, (), 0))])


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, 'SAVED_EVERY', 2)
    fields = [field_of(smeared(phantom(9350, 128), 0.1, (), 0))]
    settings = AdaptSettings(steps=5, batch=2, size=32)
    trained = []
    judge = adaptation.judge
    monkeypatch.setattr(
        adaptation,
        'judge',
        lambda net, before, after, *rest: trained.append(after) or judge(net, before, after, *rest),
    )
    adapt(fields, settings)
    state = tmp_path / 'state'

    def stop(done, *_):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(fields, settings, resume=state, progress=stop)
    assert state.exists()
    with pytest.raises(CheckpointError, match='other images or settings'):
        adapt(fields, AdaptSettings(steps=6, batch=2, size=32), resume=state)
    narrow = {name: value.contiguous() for name, value in GeneralUNet((4, 4)).state_dict().items()}
    save_file(narrow, tmp_path / 'narrow.safetensors')
    with pytest.raises(CheckpointError, match='or from other weights'):
        adapt(fields, settings, start=tmp_path / 'narrow.safetensors', resume=state)
    other = {name: value.contiguous() for name, value in load_general().state_dict().items()}
    save_file(other | {'last.bias': other['last.bias'] + 0.01}, tmp_path / 'other.safetensors')
    with pytest.raises(CheckpointError, match='or from other weights'):
        adapt(fields, settings, start=tmp_path / 'other.safetensors', resume=state)
    steps = []
    adapted = adapt(fields, settings, resume=state, progress=lambda done, *_: steps.append(done))
    assert steps == [3, 4, 5]
    # nothing is lost where judging is interrupted, or writing the weights fails
    again = adapt(fields, settings, resume=state, progress=lambda done, *_: steps.append(done))
    assert steps == [3, 4, 5, 5]
    assert all(torch.equal(adapted.state[name], again.state[name]) for name in again.state)
    with pytest.raises(OSError, match='missing'):
        again.save(tmp_path / 'missing/own.safetensors')
    assert state.exists()
    again.save(tmp_path / 'own.safetensors')
    assert not state.exists()
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    state.write_bytes(b'nothing')
    with pytest.raises(CheckpointError, match='damaged'):
        adapt(fields, settings, resume=state)


@pytest.mark.parametrize('wrong', [dict(steps=0), dict(batch=0), dict(size=40), dict(lr=0)])
def test_settings_out_of_range(wrong):
    with pytest.raises(UsageError):
        AdaptSettings(**wrong)


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match='no image'):
        adapt([])
    with pytest.raises(DataError, match='no contrast'):
        adapt([noisy_field(from_array(np.full((64, 64), 7, np.uint8)))])


@pytest.mark.parametrize(('count', 'side'), [(60, 512), (1, 6000), (3, 4000), (1000, 128)])
def test_judging_takes_minutes_however_many_and_large_images_are(count, side):
    levels = np.broadcast_to(np.float32(0.5), (side, side))
    like = Appraisal(0.0, 0.01, 0.0, 0.0, 0.0, 1.0)
    alone = [NoisyField(levels, like, 0, 0, name=str(number)) for number in range(count)]
    known = [dataclasses.replace(one, truth=levels) for one in alone]
    for held, passes in ((alone, 1 + verdict.ROUNDS), (known, 1)):
        some = verdict.some_of(held)
        work = [one.levels.size * passes for one in some]
        assert sum(work) <= 1.01 * verdict.MOST and max(work) // passes <= verdict.LARGEST
        assert sum(work) > 0.5 * min(verdict.MOST, verdict.LARGEST * passes, count * side**2)
        assert all(one.truth is None or one.truth.shape == one.levels.shape for one in some)
        assert {one.name for one in some} >= {'0', str(count - 1)}
    assert verdict.some_of(alone[:1])[0] is alone[0] or side > 1000
