import math

import pytest
import torch

from mmclarity.rsa import FeatureRecorder, GaborV1
from mmclarity.rsa.models.gabor import gabor_pair


def grating(frequency, angle, phase=0.0, size=96):
    axis = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    wave = 2 * math.pi * frequency * (x * math.cos(angle) + y * math.sin(angle))
    return (0.5 + 0.5 * torch.cos(wave + phase)).float()[None, None]


def test_pair_equals_its_definition():
    f, angle, cycles, aspect = 0.125, 0.6, 0.56, 0.5
    even, odd = gabor_pair(f, angle, cycles, aspect).double()
    radius = even.size(0) // 2
    assert even.shape == (2 * radius + 1,) * 2 and radius >= 3 * cycles / f / aspect
    values = []
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            across = x * math.cos(angle) + y * math.sin(angle)
            along = -x * math.sin(angle) + y * math.cos(angle)
            envelope = math.exp(-(across**2 + aspect**2 * along**2) / (2 * (cycles / f) ** 2))
            values.append(envelope * math.sin(2 * math.pi * f * across))
    expected = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(odd.flatten(), expected / expected.norm(), atol=1e-6, rtol=0)
    assert abs(even.sum()) < 1e-5 and abs(odd.sum()) < 1e-5
    assert even.norm() == pytest.approx(1, abs=1e-6)
    assert abs((even * odd).sum()) < 1e-6  # a quadrature pair


@pytest.mark.parametrize('preferred', range(4))
@pytest.mark.parametrize('scale', [0, 1])
def test_cells_prefer_their_orientation_and_frequency(preferred, scale):
    model = GaborV1(frequencies=(1 / 6, 1 / 12), orientations=4)
    image = grating(model.frequencies[scale], math.pi * preferred / 4)
    energy = FeatureRecorder(model, ['complex']).record_images(image)['complex']
    energy = energy.view(2, 4, -1).mean(2)  # frequencies x orientations
    assert energy.flatten().argmax().item() == scale * 4 + preferred


def test_complex_cells_ignore_phase_and_simple_cells_do_not():
    model = GaborV1(frequencies=(1 / 8,), orientations=4, pool=1)
    responses = {name: [] for name in ('simple', 'complex')}
    for phase in torch.arange(0, 2 * math.pi, math.pi / 6).tolist():
        recorder = FeatureRecorder(model, list(responses))
        found = recorder.record_images(grating(1 / 8, 0.0, phase))
        for name, values in found.items():
            # The cell of orientation 0 in the middle of the image.
            responses[name].append(values.view(-1, 96, 96)[0, 48, 48].item())
    for name, least, most in (('simple', 0.9, 2.0), ('complex', 0.0, 0.05)):
        low, high = min(responses[name]), max(responses[name])
        assert least <= (high - low) / high <= most, name
    assert min(responses['simple']) == 0


def test_uniform_light_gives_nothing_and_contrast_is_linear():
    model = GaborV1(orientations=4)
    assert model(torch.full((1, 3, 64, 64), 0.7)).abs().max() < 1e-4
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(model(2 * image), 2 * model(image), rtol=1e-4, atol=1e-5)
    normalised = GaborV1(orientations=4, semi_saturation=1e-3)
    assert (normalised(3 * image) / normalised(image).clamp(min=1e-3)).median() < 1.1


def test_shape_and_colour():
    model = GaborV1(frequencies=(1 / 4, 1 / 8), orientations=3, pool=8)
    grey = torch.rand(2, 1, 40, 56)
    out = model(grey)
    assert out.shape == (2, 2 * 3 * 5, 5, 7)
    torch.testing.assert_close(model(grey.expand(-1, 3, -1, -1)), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'make',
    [
        lambda: GaborV1(frequencies=(0.6,)),
        lambda: GaborV1(frequencies=()),
        lambda: GaborV1(orientations=0),
        lambda: GaborV1(pool=0),
        lambda: GaborV1(semi_saturation=0),
        lambda: GaborV1()(torch.rand(1, 2, 32, 32)),
        lambda: GaborV1()(torch.rand(3, 32, 32)),
        lambda: GaborV1()(torch.rand(1, 1, 4, 32)),
    ],
)
def test_bad_options(make):
    with pytest.raises(ValueError):
        make()
