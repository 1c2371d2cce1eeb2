"""Bars, showcase and pictures: what is drawn is what was found."""

import numpy as np
import pytest

from mmclarity.rsa import NeuralArea, RDMs, RSASettings, analyse
from mmclarity.rsa.report import models as plots
from mmclarity.rsa.report import style as parts

STIMULI, PAIRS = 9, 36


@pytest.fixture
def drawn(monkeypatch):
    found = []
    monkeypatch.setattr(parts, 'save', lambda figure, path: found.append(figure))
    return found


def make(bootstraps=60, subjects=4):
    rng = np.random.default_rng(0)
    truth = rng.random(PAIRS)
    layers = dict(a=truth + 0.1 * rng.random(PAIRS), b=rng.random(PAIRS), c=rng.random(PAIRS))
    area = NeuralArea('V4', truth + 0.3 * rng.random((subjects, PAIRS)), None, 'x')
    return analyse(layers, [area], RSASettings(bootstraps=bootstraps), dict(layers, a=layers['b']))


def pictures():
    return list(np.random.default_rng(0).integers(0, 255, (STIMULI, 8, 6, 3), np.uint8))


def test_bars_are_scores_and_lines_are_differences(drawn):
    result = make()
    plots.model_bars(result, 'a.png')
    top, axes = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches[:3]]
    np.testing.assert_allclose(heights, result.scores[:, 0])
    lines = {tuple(line.get_xdata()) for line in top.lines}
    assert lines == {(0, 1), (0, 2)}  # a differs from both, and they not from one another


def test_sorted_arrows_start_at_the_best(drawn):
    result = make()
    plots.model_bars(result, 'a.png', marks='arrows', sort=True)
    top, axes = drawn[0].axes
    assert [bar.get_height() for bar in axes.patches[:3]] == sorted(result.scores[:, 0])[::-1]
    assert len(top.texts) == 1  # from a to the next one: all weaker ones differ
    assert top.texts[0].xy == (1, 0)


def test_arrows_point_to_where_all_weaker_ones_differ():
    scores = np.array([0.9, 0.8, 0.5, 0.1])
    p = np.ones((4, 4))
    for i, j in ((0, 2), (0, 3), (1, 3)):
        p[i, j] = p[j, i] = 1e-4
    assert plots._lines(scores, p, 'arrows') == [(0, 2), (1, 3)]
    assert plots._lines(scores, p, 'bars') == [(0, 2), (1, 3), (0, 3)]


def test_showcase_has_all_rdms_and_pictures(drawn):
    stack = RDMs(make(0).rdms, names=('a', 'b', 'c'))
    plots.showcase(stack, 'a.png', pictures=pictures())
    panels = [axes for axes in drawn[0].axes if axes.get_title() in 'abc' and axes.images]
    assert len(panels) == 3 and len(panels[0].child_axes) == STIMULI
    assert panels[0].images[0].get_array().max() == 100


def test_pictures_lie_where_the_points_do(drawn):
    plots.picture_map(make(0).rdms[:1], pictures(), 'a.png', 'V4', list('aaabbbccc'))
    axes = drawn[0].axes[0]
    assert len(axes.artists) == STIMULI
    assert len({box.patch.get_edgecolor() for box in axes.artists}) == 3


def test_files(tmp_path):
    result = make()
    plots.model_bars(result, tmp_path / 'bars.svg')
    plots.model_bars(make(0, 1), tmp_path / 'plain.png', marks='none')
    plots.showcase(result.rdms, tmp_path / 'show.pdf')
    plots.picture_map(result.rdms, pictures(), tmp_path / 'map.png')
    assert all(path.stat().st_size > 3000 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    'draw,match',
    [
        (lambda: plots.model_bars(make(0), 'a.png'), 'marks need bootstraps'),
        (lambda: plots.model_bars(make(), 'a.png', 'IT'), "no area 'IT'"),
        (lambda: plots.model_bars(make(), 'a.png', marks='stars'), 'marks must be'),
        (lambda: plots.showcase(np.ones(PAIRS), 'a.png', list('ab')), '2 names for 1'),
        (lambda: plots.picture_map(np.ones(PAIRS), [], 'a.png'), '0 pictures for 9'),
    ],
)
def test_what_does_not_fit(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
