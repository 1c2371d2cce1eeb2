"""The figure of likeness by time."""

import numpy as np
import pytest

from mmclarity.rsa.inference import Cluster
from mmclarity.rsa.report import time


@pytest.fixture
def figures(monkeypatch):
    """Figures instead of files."""
    found = []
    monkeypatch.setattr(time.parts, 'save', lambda figure, path: found.append(figure))
    return found


def test_every_layer_has_a_colour_of_its_own(figures):
    """Ten were enough for nobody's transformer."""
    courses = np.random.default_rng(0).normal(size=(14, 5, 8))
    clusters = {f'block {i}': [Cluster(2, 5, 9.0, 0.03)] for i in range(14)}
    time.time_figure(courses, clusters, 'MEG', 'x.png', np.arange(8) * 10.0 - 30)
    (axes,) = figures[0].axes
    lines = [line for line in axes.lines if not line.get_label().startswith('_')]
    assert [line.get_label() for line in lines] == list(clusters)
    assert len({tuple(line.get_color()) for line in lines}) == 14
    np.testing.assert_array_equal(lines[0].get_xdata(), np.arange(8) * 10.0 - 30)
    np.testing.assert_allclose(lines[3].get_ydata(), courses[3].mean(0))
    marks = [line for line in axes.lines if len(line.get_xdata()) == 2][1:]  # the first is zero
    assert len(marks) == 14 and {tuple(m.get_xdata()) for m in marks} == {(-10.0, 10.0)}
    assert [tuple(m.get_color()) for m in marks] == [tuple(line.get_color()) for line in lines]


@pytest.mark.filterwarnings('error')
def test_gaps_and_one_subject(figures):
    courses = np.full((2, 3, 6), np.nan)
    time.time_figure(courses, {'a': [], 'b': []}, 'MEG', 'x.png')
    courses[:, :, 2:] = 0.3
    time.time_figure(courses[:, :1], {'a': [], 'b': []}, 'MEG', 'x.png')
    assert figures[1].axes[0].get_xlabel() == 'time (samples)'
    assert 'standard error' not in ' '.join(text.get_text() for text in figures[1].texts)
