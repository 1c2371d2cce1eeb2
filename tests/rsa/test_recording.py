"""Networks whose answers do not fit into memory are shown their stimuli several times."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmclarity.rsa import StimulusSet, compute_rdm, network_rdms
from mmclarity.rsa.rdms import accumulator
from mmclarity.rsa.rdms.memory import Slabs

COUNT, LAYERS = 10, ['0', '1', '2', '3']
# Units of each layer for pictures of 16 x 16.
UNITS = [8 * 14 * 14, 8 * 14 * 14, 4 * 12 * 12, 2 * 10 * 10]


@pytest.fixture
def stimuli(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
    return StimulusSet.from_folder(tmp_path)


class Counted(nn.Sequential):
    """Counts the stimuli it is shown."""

    shown = 0

    def forward(self, images):
        self.shown += len(images)
        return super().forward(images)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Counted(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 2, 3))


class Watched(Slabs):
    """Remembers the most that was in use."""

    most = 0

    def take(self, rows, units):
        piece = super().take(rows, units)
        self.most = max(self.most, self.used)
        return piece


@pytest.mark.parametrize(
    'room,passes',
    [
        (UNITS, 1),
        (UNITS[:2], 2),  # the first two; then the others
        ([UNITS[0], UNITS[2], UNITS[3]], 2),  # what is left of the first pass goes to small ones
        (UNITS[:1], 3),
    ],
)
def test_in_as_many_passes_as_memory_asks_for(network, stimuli, room, passes, monkeypatch):
    monkeypatch.setattr(accumulator.tempfile, 'TemporaryFile', None)  # nothing is written
    memory = Watched(4 * COUNT * sum(room))
    found = network_rdms(network, LAYERS, stimuli, batch_size=3, memory=memory)
    assert network.shown == passes * COUNT and list(found) == LAYERS
    assert memory.most <= memory.limit and memory.used == 0
    images = torch.stack([stimuli.image(i) for i in range(COUNT)])
    with torch.no_grad():
        for name, layer in network.named_children():
            images = layer(images)
            np.testing.assert_allclose(found[name], compute_rdm(images.numpy()), atol=1e-6)


def test_a_layer_that_does_not_fit_by_itself_goes_into_a_file(network, stimuli):
    memory = Watched(4 * COUNT * UNITS[3])
    found = network_rdms(network, LAYERS, stimuli, batch_size=3, memory=memory)
    everything = network_rdms(network, LAYERS, stimuli, batch_size=3)
    for name in LAYERS:
        np.testing.assert_allclose(found[name], everything[name], atol=1e-6)
    assert memory.most <= memory.limit and memory.used == 0


def test_nothing_stays_behind_an_error(network, stimuli):
    memory = Slabs()
    network[3].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network_rdms(network, LAYERS, stimuli, batch_size=3, memory=memory)
    assert memory.used == 0 and not network[0]._forward_hooks


@pytest.mark.parametrize('room', [1 << 30, 4 * COUNT * UNITS[0]])
def test_layers_without_rdm_are_told_and_nan(stimuli, network, room):
    """Constant answers, and such as are not finite; in one pass or several."""
    with torch.no_grad():
        for parameter in network[2].parameters():
            parameter.zero_()
        network[3].bias.fill_(float('nan'))
    with pytest.raises(ValueError, match="layer '2': the response to stimulus 0 is constant"):
        network_rdms(network, LAYERS, stimuli)
    told = {}
    memory = Slabs(room)
    found = network_rdms(network, LAYERS, stimuli, memory=memory, undefined=told.__setitem__)
    assert sorted(told) == ['2', '3'] and memory.used == 0
    assert 'is constant (10 such stimuli)' in told['2'] and 'NaN or infinite' in told['3']
    assert list(found) == LAYERS
    for name, rdm in found.items():
        assert rdm.shape == (45,) and np.isnan(rdm).all() == (name in told)
    np.testing.assert_array_equal(found['1'], network_rdms(network, ['1'], stimuli)['1'])
