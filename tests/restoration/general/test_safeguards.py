"""Are taught networks guarded? Only where that brings them closer to the truth."""

import dataclasses
import warnings

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter

from mmclarity.errors import CheckpointError
from mmclarity.restoration import Restorer
from mmclarity.restoration.general import load_general, safeguards
from mmclarity.restoration.general.adaptation import AdaptSettings, adapt
from mmclarity.restoration.general.blind_spot import noisy_field
from mmclarity.restoration.general.caution import Caution
from mmclarity.restoration.general.manner import Manner
from mmclarity.restoration.general.residual_structure import put_back
from mmclarity.restoration.general.safeguards import Guarding, guard, needs_guard
from mmclarity.restoration.general.weights import WEIGHTS
from mmclarity.restoration.io import from_array
from tests.scenes import lines, scene, spheres


def knows(monkeypatch, answer):
    """A network that gives ``answer`` of a scene, wherever it looks at all of one."""

    def restored(net, levels, like):
        return np.clip(answer(levels), 0, 1).astype(np.float32)

    monkeypatch.setattr(safeguards, 'restore_levels', restored)


def test_a_network_is_guarded_where_its_guards_help(monkeypatch):
    scenes = [scene(lines(seed), seed) for seed in range(3)]
    kept = [one.noisy.copy() for one in scenes]
    # one that takes the lines for noise
    knows(monkeypatch, lambda levels: gaussian_filter(levels, 6))
    found = needs_guard(load_general(), scenes)
    assert found.guarded and found.both < found.alone / 4
    assert found.describe() == ''
    for before, one in zip(kept, scenes):  # scenes are asked again
        np.testing.assert_array_equal(before, one.noisy)


def test_a_network_restores_alone_where_guards_are_surely_worse(monkeypatch):
    scenes = [scene(spheres(9000 + seed), seed) for seed in range(3)]
    share = {'worse': 0.02}

    def guarding(image, restored, like, restore, *_):
        # what is said of the image holds in its levels
        assert (like.gain, like.offset) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
        restored += share['worse'] * (image - restored)
        return 0.0, 0.0

    monkeypatch.setattr(safeguards, 'guard', guarding)
    truth = {one.noisy.tobytes(): one.clean for one in scenes}
    knows(monkeypatch, lambda levels: truth[levels.tobytes()])
    found = needs_guard(load_general(), scenes)
    assert not found.guarded and found.alone < found.both
    # in units of the contrast, of noise that is measured
    assert found.both == pytest.approx(np.square(0.02 * 0.06 / np.ptp(spheres(9000))), rel=0.5)
    assert 'would cost' in found.describe()
    share['worse'] = 0.0  # neither better nor worse: as it was
    assert needs_guard(load_general(), scenes).guarded
    # of one scene as well
    share['worse'] = 0.02
    assert not needs_guard(load_general(), scenes[:1]).guarded


def test_errors_are_held_against_their_spread(monkeypatch):
    """Guards that help here and harm there, a little more, are kept."""
    one = scene(np.full((64, 256), 0.5) + np.indices((64, 256))[1] % 64 / 300, 3)

    def guarding(image, restored, like, restore, *_):
        restored[:, :128] += 0.1
        restored[:, 128:] -= 0.095
        return 0.0, 0.0

    monkeypatch.setattr(safeguards, 'guard', guarding)
    knows(monkeypatch, lambda levels: one.clean - np.where(np.arange(256) < 128, 0.0, -0.0951))
    found = needs_guard(load_general(), [one])
    assert found.alone < found.both and found.guarded


def test_guard_writes_what_both_steps_do():
    one = scene(lines(0), 1)
    like = dataclasses.replace(one.like, low=0.05, high=0.95)
    blurred = gaussian_filter(one.noisy, 6)
    wanted, found = blurred.copy(), blurred.copy()
    share = put_back(one.noisy, wanted, like, 1.5)
    # more is to be taken away: no non-local means, and nobody is asked again
    shares = guard(one.noisy, found, like, lambda part: pytest.fail('asked'), 1.5)
    assert shares == (share, 0.0) and share > 0.5
    np.testing.assert_array_equal(found, wanted)


@pytest.fixture
def weights(tmp_path):
    """The network that ships, told by its weights whether it is guarded."""
    state = {name: value.contiguous() for name, value in load_general().state_dict().items()}

    def written(told):
        path = tmp_path / f'guarded_{told}.safetensors'
        save_file(state, path, metadata=dict(guarded=told) if told else None)
        return path

    return written


def test_weights_tell_whether_they_are_guarded(weights):
    noisy = np.rint(255 * scene(lines(0), 2, 0.12).noisy).clip(0, 255).astype(np.uint8)
    paths = [weights(told) for told in ('0', '1', None)]
    assert [load_general(path).manner.guarded for path in paths] == [False, True, True]
    restored, told = [], []
    for path in (*paths, None):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            restored.append(Restorer(checkpoint=path)(noisy))
        told.append(any('fine structure for noise' in str(line.message) for line in said))
    assert told == [False, True, True, True]
    for same in restored[2:]:
        np.testing.assert_array_equal(same, restored[1])
    like = [np.corrcoef(image.ravel(), lines(0).ravel())[0, 1] for image in restored[:2]]
    assert like[0] < 0.9 < 0.95 < like[1]
    with pytest.raises(CheckpointError, match='can not be read'):
        load_general(weights('never'))


def test_what_was_chosen_is_written_and_said(tmp_path):
    settings = AdaptSettings(steps=1, batch=1, size=32)
    fields = [noisy_field(from_array(scene(spheres(9100), 3).noisy, 'measured'))]
    result = adapt(fields, settings)
    # without clean images nothing is chosen
    assert result.manner == Manner() and result.guarding is result.caution is None
    manner = Manner(0.7, False, (0.5, 0.1, 4095.0))
    chosen = Guarding(False, 0.001, 0.002), Caution((0.8, 90.0), (0.7, 60.0))
    result = dataclasses.replace(result, manner=manner, guarding=chosen[0], caution=chosen[1])
    for told in (
        '3.0 dB where the truth is known',
        '0.7 invented and 60 missed a picture (before: 0.8 and 90)',
    ):
        assert told in result.describe() and told in result.card('own.safetensors')
    result.save(tmp_path / 'own.safetensors')
    assert load_general(tmp_path / 'own.safetensors').manner == manner
    # trained further, it stays as it was
    again = adapt(fields, settings, tmp_path / 'own.safetensors')
    assert again.manner == manner and 'restore alone' not in again.describe()
    again.save(tmp_path / 'again.safetensors')
    assert load_general(tmp_path / 'again.safetensors').manner == manner


@pytest.mark.parametrize(
    ('told', 'why'),
    [
        (dict(caution='much'), 'could not convert'),
        *(
            (told, 'its metadata give')
            for told in (
                dict(caution='-0.1'),
                dict(caution='inf'),
                dict(caution='nan'),
                dict(guarded='1.1'),
                dict(guarded='nan'),
                dict(levels='0.5'),
                dict(levels='0 0'),
                dict(levels='nan 0'),
                dict(levels='0.5 0.1 0'),
                dict(levels='1 2 3 4'),
                dict(levels='0.5 0.1 255 1'),
                dict(levels='-0.5 0.1'),
            )
        ),
    ],
)
def test_metadata_that_would_spoil_every_image_are_refused(told, why, tmp_path):
    """They gave white or NaN."""
    with pytest.raises(ValueError, match=why):
        Manner.told(told)
    save_file(load_file(WEIGHTS), tmp_path / 'own.safetensors', metadata=told)
    with pytest.raises(CheckpointError, match=rf'own\.safetensors: .* {why}'):
        load_general(tmp_path / 'own.safetensors')


def test_a_manner_is_what_was_written():
    assert Manner.told({}) == Manner.told({'network': 'GeneralUNet'}) == Manner()
    for manner in (
        Manner(),
        Manner(0.1 + 0.2, False),
        Manner(levels=(0.5, -0.1, None)),
        Manner(levels=(1 / 3, 0.1, 4095.0)),
    ):
        assert Manner.told(manner.metadata()) == manner
