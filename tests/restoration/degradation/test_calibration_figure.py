"""The figure of a calibration: laws that were asked for, and files whole or not at all."""

import numpy as np
import pytest

from mmclarity.restoration.degradation.calibration import Calibration, Estimate, plot
from mmclarity.restoration.degradation.calibration_figure import _draw_blur, _draw_noise
from mmclarity.restoration.degradation.measure import NoiseSample, PairSample
from mmclarity.restoration.ops import Registration
from mmclarity.utils.figures import new_figure

SLOPE, INTERCEPT, ALONG, ACROSS = 3.0, 40.0, 0.8, 0.3


def found(pairs: bool) -> Calibration:
    """Measurements that obey the laws exactly."""
    level = np.linspace(10, 200, 8)
    variance = SLOPE * level + INTERCEPT
    noise = NoiseSample(level, variance, np.full(8, 99), np.array([0.3, 0.1]), 0.0, -0.6)
    frequency = np.linspace(0.05, 0.4, 6)
    along, across = (np.exp(-2 * (np.pi * s * frequency) ** 2) for s in (ALONG, ACROSS))
    weight = np.ones(6)
    place = Registration((0.0, 0.0), (0.0, 0.0), 0.9)
    pair = PairSample(1.0, 0.0, frequency, along, across, weight, weight, 0.0, 0.0, place)
    values = {'slope': SLOPE, 'intercept': INTERCEPT, 'blur along': ALONG, 'blur across': ACROSS}
    return Calibration(
        estimates={name: Estimate(value, 0.1) for name, value in values.items()},
        curve=np.column_stack([level, variance]),
        misfit=0.0,
        noise=[noise],
        pairs=[pair] if pairs else [],
        notes=[],
    )


def test_lines_run_through_measurements_that_obey_the_laws():
    noise, blur = new_figure(8, 3).subplots(1, 2)
    _draw_noise(noise, found(True))
    law = noise.lines[1]
    np.testing.assert_allclose(law.get_ydata(), SLOPE * law.get_xdata() + INTERCEPT)
    _draw_blur(blur, found(True))
    points, line, other_points, other = blur.lines
    np.testing.assert_allclose(line.get_ydata(), points.get_ydata())
    np.testing.assert_allclose(other.get_ydata(), other_points.get_ydata())
    assert [text.get_text() for text in blur.get_legend().get_texts()] == [
        'along the line: sigma 0.80 px',
        'across the line: sigma 0.30 px',
    ]


@pytest.mark.parametrize(('pairs', 'suffix'), [(False, '.png'), (True, '.pdf'), (True, '.svg')])
def test_formats(tmp_path, pairs, suffix):
    plot(found(pairs), tmp_path / f'new/it{suffix}')
    start = {'.png': b'\x89PNG', '.pdf': b'%PDF', '.svg': b'<?xml'}[suffix]
    assert (tmp_path / f'new/it{suffix}').read_bytes().startswith(start)


def test_a_failing_writer_leaves_the_old_file(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, part, **kwargs):
        part.write_bytes(b'half')
        raise MemoryError

    path = tmp_path / 'it.png'
    path.write_bytes(b'old')
    monkeypatch.setattr(Figure, 'savefig', fail)
    with pytest.raises(MemoryError):
        plot(found(False), path)
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]
