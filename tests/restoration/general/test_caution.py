"""How careful the second look has to be: chosen where the truth is known, and kept by weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmclarity.errors import CheckpointError
from mmclarity.restoration.general import load_general
from mmclarity.restoration.general.caution import _Count, choose_caution
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
        (5, 1.5, True),  # all invent more: the most careful
    ],
)
def test_caution_is_not_chosen_by_chance(scenes, monkeypatch, before, wanted, bold_is_closer):
    net, old, new = weights_of_two()
    tried = []

    def counted(net_, scenes_, caution):
        if not torch.equal(net_.state_dict()['last.bias'], new['last.bias']):
            assert caution == 0.8
            return _Count(0.1, 9.0, 0.5, before / 10)
        share = caution / 0.8
        tried.append(share)
        invented = 6 if share > 1.4 else 7 if share > 1.1 else 20 if share > 0.55 else 30
        error = share if bold_is_closer else -share
        return _Count(0.2, 8.0, error, (invented if before > 3 else 0) / 10)

    monkeypatch.setattr('mmclarity.restoration.general.caution._counted', counted)
    found = choose_caution(net, old, new, scenes)
    assert net.manner == Manner(pytest.approx(0.8 * wanted))
    assert found.before == (0.1, 9.0) and found.after == (0.2, 8.0)
    assert len(tried) == len(set(tried)) <= 6


def test_the_second_look_is_as_bold_as_inventions_allow(scenes):
    net = load_general()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = choose_caution(net, state, state, scenes)
    # the same weights: at the factor of before they invent what they did
    assert found.after[1] <= found.before[1]
    assert net.manner.caution <= 1.0
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
