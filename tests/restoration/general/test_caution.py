"""How careful the second look has to be: chosen where the truth is known, and kept by weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmclarity.errors import CheckpointError
from mmclarity.restoration.evaluation import count_fabrications
from mmclarity.restoration.general import load_general
from mmclarity.restoration.general.caution import _Count, _counted, _first_looks, choose_caution
from mmclarity.restoration.general.manner import Manner
from mmclarity.restoration.general.weights import restore_levels
from tests.scenes import scene, spheres


@pytest.fixture(scope='module')
def scenes():
    return [scene(spheres(9400 + seed), seed, 0.1) for seed in range(10)]


def weights_of_two():
    """A network whose second look was chosen before; its weights, and others."""
    net = load_general()
    net.manner = Manner(0.8)
    old, new = ({name: value.clone() for name, value in net.state_dict().items()} for _ in '12')
    new['last.bias'] += 1.0
    return net, old, new


@pytest.mark.parametrize(
    ('before', 'wanted', 'bold_is_closer'),
    [
        (0, 0.3, True),  # of none counts say nothing: what is closer to the truth
        (0, 1.0, False),
        (3, 0.3, True),
        (3, 1.0, False),
        (20, 0.6, False),  # the boldest of those that invent 20
        (7, 1.2, True),
        (5, 3.6, True),  # all invent more: the most careful
    ],
)
def test_caution_is_not_chosen_by_chance(scenes, monkeypatch, before, wanted, bold_is_closer):
    net, old, new = weights_of_two()
    tried = []

    def counted(net_, scenes_, looks, caution, shares):
        assert len(looks) == len(scenes_)
        if not torch.equal(net_.state_dict()['last.bias'], new['last.bias']):
            assert (caution, list(shares)) == (0.8, [0.0])
            return {0.0: _Count(before / 10, 9.0, 0.5)}
        share = caution / 0.8
        tried.append(share)
        invented = 6 if share > 1.4 else 7 if share > 1.1 else 20 if share > 0.55 else 30
        error = share if bold_is_closer else -share
        found = _Count((invented if before > 3 else 0) / 10, 8.0, error)
        return dict.fromkeys(shares, found)  # others are no better

    monkeypatch.setattr('mmclarity.restoration.general.caution._counted', counted)
    found = choose_caution(net, old, new, scenes)
    assert net.manner == Manner(pytest.approx(0.8 * wanted), 0.0)
    assert found.before == (before / 10, 9.0) and found.after[1] == 8.0
    assert len(tried) == len(set(tried)) <= 6


@pytest.mark.parametrize(
    ('before', 'fainter', 'wanted'),
    [
        (20, _Count(2.0, 6.0, 1.0), 0.4),  # as many invented, fewer missed
        (20, _Count(2.1, 6.0, 1.0), 0.0),  # more invented
        (20, _Count(2.0, 8.5, 1.0), 0.0),  # more missed
        (2, _Count(0.2, 6.0, 0.1), 0.4),  # few are invented, but it is closer to the truth
        (2, _Count(0.2, 6.0, 0.3), 0.0),  # few, and farther from it
    ],
)
def test_doubted_detail_is_shown_fainter_where_that_misses_less(
    scenes, monkeypatch, before, fainter, wanted
):
    net, old, new = weights_of_two()

    def counted(net_, scenes_, looks, caution, shares):
        if not torch.equal(net_.state_dict()['last.bias'], new['last.bias']):
            return {0.0: _Count(before / 10, 9.0, 0.5)}
        plain = _Count(before / 10 if caution > 0.79 else 9.0, 8.0, 0.2)
        return {0.0: plain, 0.4: fainter}

    monkeypatch.setattr('mmclarity.restoration.general.caution._counted', counted)
    found = choose_caution(net, old, new, scenes)
    assert net.manner.believed == wanted
    assert found.after[1] == (6.0 if wanted else 8.0)
    assert all(torch.equal(value, new[name]) for name, value in net.state_dict().items())


def test_what_is_counted_is_what_images_are_restored_by(scenes):
    """Both looks once for all shares of detail: the same as restoring with each."""
    net, caution_ = load_general(), 1.7
    net.manner = Manner(0.8, 0.3)
    looks = _first_looks(net, scenes[:3])
    found = _counted(net, scenes[:3], looks, caution_, [0.0, 0.4])
    for share, count in found.items():
        net.manner = Manner(caution_, share)
        errors, invented = [], 0
        for one in scenes[:3]:
            restored = restore_levels(net, one.noisy, one.like)
            errors.append(np.square(restored - one.clean).mean())
            for image, clean in ((restored, one.clean), (1 - restored, 1 - one.clean)):
                invented += count_fabrications(image, clean, [0.027])[0]['fabricated']
        assert count.error == pytest.approx(np.mean(errors), rel=0.01)  # in bfloat16
        assert count.invented == pytest.approx(invented / 3, abs=0.4)
    assert found[0.4].missed <= found[0.0].missed


def test_the_second_look_is_as_bold_as_inventions_allow(scenes):
    net = load_general()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = choose_caution(net, state, state, scenes)
    # the same weights: at the factor of before they invent what they did
    assert found.after[0] <= found.before[0]
    assert found.after[1] <= found.before[1]
    assert net.manner.caution <= 1.0 or net.manner.believed > 0
    for share in (1.0, 0.5):
        net.manner = Manner(share)
        looks = [restore_levels(net, scenes[0].noisy, scenes[0].like)]
        net.manner = Manner(2 * share)
        looks.append(restore_levels(net, scenes[0].noisy, scenes[0].like))
        assert not np.array_equal(*looks)
    net.manner, least = Manner(1e-6), scenes[0]  # never told of less noise than was measured
    bold = restore_levels(net, least.noisy, least.like)
    net.manner = Manner(1 / least.like.second_look)
    np.testing.assert_array_equal(bold, restore_levels(net, least.noisy, least.like))


def test_caution_goes_with_the_weights(tmp_path):
    known = {name: value.contiguous() for name, value in load_general().state_dict().items()}
    assert load_general().manner.caution == 1.0
    for told, wanted in (('0.6', 0.6), (None, 1.0)):
        path = tmp_path / f'{told}.safetensors'
        save_file(known, path, metadata=dict(caution=told) if told else None)
        assert load_general(path).manner.caution == wanted
    save_file(known, tmp_path / 'bad.safetensors', metadata=dict(caution='much'))
    with pytest.raises(CheckpointError, match=r'bad\.safetensors: can not be read'):
        load_general(tmp_path / 'bad.safetensors')
