"""Figures: what they show is what was found, and it can be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmclarity.rsa.analysis import RSASettings, analyse
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.report import figures as plots
from mmclarity.rsa.report import style as parts
from tests.running import session

ROOT = Path(__file__).resolve().parents[3]
STIMULI, PAIRS = 9, 36
KINDS = ['heat_map', 'layer_curves', 'rdm_grid', 'mds']


def make(layers=3, baseline=True, areas=('V1', 'IT'), bootstraps=10, permutations=19, seed=0):
    rng = np.random.default_rng(seed)
    brain = [
        NeuralArea(name, rng.random((1 if name == 'IT' else 3, PAIRS)), None, 'x.npz')
        for name in areas
    ]
    names = [f'backbone.features.{i}' for i in range(layers)]
    rdms = {name: brain[0].rdms.mean(axis=0) + rng.random(PAIRS) for name in names}
    untrained = {name: rng.random(PAIRS) for name in names} if baseline else None
    return analyse(
        rdms,
        brain,
        RSASettings(bootstraps=bootstraps, permutations=permutations),
        untrained,
        meta=dict(model='alexnet'),
    )


@pytest.fixture(scope='module')
def result():
    return make()


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been written, laid out."""
    figures = []

    def keep(figure, path):
        figure.canvas.draw()
        figures.append(figure)

    monkeypatch.setattr(parts, 'save', keep)
    return figures


def boxes(figure, texts):
    from matplotlib.text import Text

    # An annotation would count its arrow.
    return [Text.get_window_extent(text, figure.canvas.get_renderer()) for text in texts]


def texts_of(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


class TestFiles:
    @pytest.mark.parametrize('kind', KINDS)
    @pytest.mark.parametrize(
        'options',
        [
            {},
            dict(baseline=False, bootstraps=0, permutations=0),
            dict(layers=1, areas=('IT',)),
            dict(layers=17, areas=('V1', 'V2', 'V4', 'IT', 'PFC'), bootstraps=0),
        ],
    )
    def test_every_figure_of_every_result(self, tmp_path, kind, options):
        path = tmp_path / 'new' / f'{kind}.png'
        getattr(plots, kind)(make(**options), path)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert('L'))
        assert min(pixels.shape) > 250 and (pixels < 128).mean() > 1e-3
        # Nothing runs out of the picture.
        assert (pixels[0] == 255).all() and (pixels[-1] == 255).all()
        assert (pixels[:, 0] == 255).all() and (pixels[:, -1] == 255).all()
        assert [item.name for item in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize('ending, start', [('.pdf', b'%PDF'), ('.SVG', b'<?xml')])
    def test_vector_graphics(self, tmp_path, result, ending, start):
        plots.layer_curves(result, tmp_path / f'a{ending}')
        assert (tmp_path / f'a{ending}').read_bytes().startswith(start)

    def test_unknown_ending(self, tmp_path, result):
        with pytest.raises(ValueError, match=r'a\.jpeg: figures are written as .png, .pdf, .svg'):
            plots.heat_map(result, tmp_path / 'a.jpeg')

    def test_pyplot_is_left_alone(self):
        """Drawing neither imports pyplot nor changes a setting; importing needs no matplotlib."""
        code = (
            'import sys\n'
            'from mmclarity.rsa.report import figures as plots\n'
            "assert 'matplotlib' not in sys.modules\n"
            'import matplotlib; rc = matplotlib.rcParams\n'
            # Asking for the backend would choose one.
            "before = {key: rc[key] for key in rc if key != 'backend'}\n"
            'from tests.rsa.report.test_figures import make\n'
            'import tempfile, os\n'
            'with tempfile.TemporaryDirectory() as folder:\n'
            "    plots.layer_curves(make(), os.path.join(folder, 'a.png'))\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
            'assert all(rc[key] == value for key, value in before.items())\n'
        )
        done = session(code)
        assert done.returncode == 0, done.stderr


class TestHeatMap:
    def test_values_stars_and_one_scale(self, drawn, result):
        plots.heat_map(result, 'a.png')
        first, second = [axes for axes in drawn[0].axes if axes.images]
        np.testing.assert_array_equal(first.images[0].get_array(), result.scores.T)
        np.testing.assert_array_equal(second.images[0].get_array(), result.untrained_scores.T)
        assert first.images[0].get_clim() == second.images[0].get_clim()
        assert first.images[0].get_clim()[0] <= 0
        cells = {tuple(map(round, text.get_position())): text.get_text() for text in first.texts}
        for row, column in np.ndindex(result.scores.shape):
            star = '*' if result.q[row, column] < 0.05 else ''
            assert cells[row, column] == f'{result.scores[row, column]:.2f}{star}'

    def test_undefined_scores_are_named(self, drawn):
        result = make(bootstraps=0, permutations=0)
        result.scores[1, 0] = np.nan
        plots.heat_map(result, 'a.png')
        assert texts_of(drawn[0]).count('n/a') == 1


class TestLayerCurves:
    def test_lines_are_the_scores(self, drawn, result):
        plots.layer_curves(result, 'a.png')
        axes = drawn[0].axes[0]
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines['trained'].get_ydata(), result.scores[:, 0])
        np.testing.assert_array_equal(lines['untrained'].get_ydata(), result.untrained_scores[:, 0])
        assert lines['untrained'].get_linestyle() == '--'
        assert lines['trained'].get_linestyle() == '-'

    def test_ceiling_is_a_band_where_there_is_one(self, drawn, result):
        from matplotlib.patches import Rectangle

        plots.layer_curves(result, 'a.png')
        with_band, without = drawn[0].axes[:2]
        (band,) = [patch for patch in with_band.patches if isinstance(patch, Rectangle)]
        ceiling = result.ceilings['V1']
        bounds = band.get_window_extent().transformed(with_band.transData.inverted())
        assert (bounds.y0, bounds.y1) == pytest.approx((ceiling.lower, ceiling.upper))
        assert not without.patches
        assert 'noise ceiling: N/A (one RDM)' in texts_of(drawn[0])
        assert 'noise ceiling (rank-pooled)' in texts_of(drawn[0])

    def test_everything_is_inside_the_axes(self, drawn, result):
        plots.layer_curves(result, 'a.png')
        low, high = drawn[0].axes[0].get_ylim()
        for table in (result.scores, result.intervals, result.untrained_intervals):
            assert low < np.nanmin(table) and np.nanmax(table) < high
        assert low < result.ceilings['V1'].lower and result.ceilings['V1'].upper < high

    @pytest.mark.parametrize('kind', ['heat_map', 'layer_curves'])
    def test_sixteen_layers_can_be_read(self, drawn, kind):
        getattr(plots, kind)(make(layers=16, bootstraps=0), 'a.png')
        labelled = [axes for axes in drawn[0].axes if len(axes.get_xticklabels()) == 16]
        labels = [text for text in labelled[-1].get_xticklabels() if text.get_visible()]
        assert len(labels) == 16 and labels[3].get_text() == 'features.3'
        # Slanted labels: the feet must stand apart by more than the height of the letters.
        feet = [box.x1 for box in boxes(drawn[0], labels)]
        assert min(np.diff(feet)) > labels[0].get_fontsize() * parts.DPI / 72


class TestEpochCurves:
    def test_lines_over_epochs(self, drawn):
        results = {epoch: make(seed=epoch) for epoch in (5, 0, 2)}
        for item in results.values():
            item.ceilings = results[5].ceilings
        plots.epoch_curves(results, 'a.png')
        lines = [line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == 3]
        assert len(lines) == 3
        for row, line in enumerate(lines):
            assert list(line.get_xdata()) == [0, 2, 5]
            np.testing.assert_array_equal(
                line.get_ydata(), [results[e].scores[row, 0] for e in (0, 2, 5)]
            )

    def test_a_layer_that_ends_says_when(self, drawn):
        results = {epoch: make(seed=epoch) for epoch in (0, 2, 5)}
        for epoch in (0, 2, 5):
            results[epoch].scores[0, 0] = np.nan
        results[5].scores[1] = np.nan
        results[2].scores[2] = np.nan
        plots.epoch_curves(results, 'a.png')
        one, other = ({t.get_text() for t in axes.texts} for axes in drawn[0].axes[:2])
        assert one == {'features.0 (n/a)', 'features.1 (to 2)', 'features.2'}
        assert other == {'features.0', 'features.1 (to 2)', 'features.2'}

    def test_names_of_sixteen_layers_do_not_overlap(self, drawn):
        plots.epoch_curves({epoch: make(layers=16, seed=epoch) for epoch in (1, 2)}, 'a.png')
        for axes in drawn[0].axes[:2]:
            found = sorted(boxes(drawn[0], axes.texts), key=lambda box: box.y0)
            assert len(found) == 16
            for lower, upper in zip(found, found[1:]):
                assert upper.y0 > lower.y0 + 0.6 * lower.height

    def test_one_epoch_and_a_png(self, tmp_path, result):
        plots.epoch_curves({3: result}, tmp_path / 'a.png')
        assert (tmp_path / 'a.png').stat().st_size > 10_000

    def test_refusals(self, tmp_path, result):
        with pytest.raises(ValueError, match='no result'):
            plots.epoch_curves({}, tmp_path / 'a.png')
        with pytest.raises(ValueError, match='epoch 1 has other layers or areas than epoch 2'):
            plots.epoch_curves({1: result, 2: make(layers=2)}, tmp_path / 'a.png')


class TestRdmGrid:
    def test_every_rdm_sorted_by_category(self, drawn, result):
        categories = list('abcabcabc')
        plots.rdm_grid(result, 'a.png', categories)
        shown = [axes for axes in drawn[0].axes if axes.images and axes.get_title()]
        assert [axes.get_title() for axes in shown] == ['V1', 'IT'] + [
            'features.0',
            'features.1',
            'features.2',
        ] * 2
        order = [0, 3, 6, 1, 4, 7, 2, 5, 8]
        from scipy.spatial.distance import squareform
        from scipy.stats import rankdata

        ranks = squareform((rankdata(result.rdms[1]) - 1) / (PAIRS - 1) * 100)
        np.fill_diagonal(ranks, np.nan)
        np.testing.assert_allclose(
            shown[3].images[0].get_array().filled(np.nan), ranks[np.ix_(order, order)]
        )

    def test_missing_pairs_stay_empty(self, drawn):
        result = make(bootstraps=0, permutations=0)
        result.rdms[0, 4] = np.nan
        plots.rdm_grid(result, 'a.png')
        image = [axes for axes in drawn[0].axes if axes.images][2].images[0].get_array()
        assert image.mask.sum() == STIMULI + 2
        assert image.min() == 0 and image.max() == 100

    @pytest.mark.filterwarnings('error::RuntimeWarning')
    def test_no_rdm(self, drawn):
        result = make()
        result.rdms[0] = np.nan
        plots.rdm_grid(result, 'a.png')
        assert sum(text == 'n/a' for text in texts_of(drawn[0])) == 1

    @pytest.mark.parametrize('kind', ['rdm_grid', 'mds'])
    def test_wrong_number_of_categories(self, tmp_path, result, kind):
        with pytest.raises(ValueError, match='3 categories for 9 stimuli'):
            getattr(plots, kind)(result, tmp_path / 'a.png', list('abc'))


class TestMds:
    def test_panels_and_colours(self, drawn, result):
        plots.mds(result, 'a.png', list('aaabbbccc'))
        names = [axes.get_title('left') for axes in drawn[0].axes if axes.collections]
        best = [result.best_layer(area)[0].removeprefix('backbone.') for area in result.areas]
        assert names[:2] == ['V1', 'IT'] and f'{best[0]} (best)' in names
        assert f'{best[0]}, untrained' in names and len(names) <= 8
        points = drawn[0].axes[0].collections
        assert [len(item.get_offsets()) for item in points] == [3, 3, 3]
        assert len({tuple(item.get_facecolor()[0]) for item in points}) == 3
        assert {'a', 'b', 'c'} <= set(texts_of(drawn[0]))

    @pytest.mark.filterwarnings('error::RuntimeWarning')
    def test_what_cannot_be_arranged_is_named(self, drawn):
        """A dead layer, and one that answers all stimuli alike: this ended in an error."""
        result = make(areas=('V1',))
        result.rdms[0], result.rdms[2] = np.nan, 0.0
        result.untrained_rdms = np.full_like(result.rdms, np.nan)
        result.scores[[0, 2]] = np.nan
        plots.mds(result, 'a.png')
        said = {
            axes.get_title('left'): axes.texts[0].get_text() for axes in drawn[0].axes if axes.texts
        }
        assert said.pop('V1').startswith('stress')
        assert said.pop('features.1 (best)').startswith('stress')
        assert said == {
            'features.1, untrained': 'n/a: no RDM',
            'features.2': 'n/a: no two differ',
            'features.0': 'n/a: no RDM',
        }

    def test_few_panels(self, drawn, result):
        plots.mds(result, 'a.png', panels=1)
        assert sum(bool(axes.collections) for axes in drawn[0].axes) == 1
        with pytest.raises(ValueError, match='panels'):
            plots.mds(result, 'a.png', panels=0)


class TestParts:
    def test_labels_are_spread_in_order(self):
        places = [0.5, 0.51, 0.1, 0.505, 0.9]
        moved = parts.spread(places, 0.1)
        assert np.argsort(moved).tolist() == np.argsort(places).tolist()
        assert np.diff(np.sort(moved)).min() >= 0.1 - 1e-12
        assert moved[2] == 0.1 and moved[4] == 0.9  # far from the others
        assert moved[[0, 1, 3]].mean() == pytest.approx(0.505)
        assert parts.spread([], 1).size == 0

    @pytest.mark.parametrize(
        'names, short, shared',
        [
            (['backbone.layer1.0', 'backbone.layer2.0'], ['layer1.0', 'layer2.0'], 'backbone'),
            (['a.b.c', 'x.b.c'], ['a.b.c', 'x.b.c'], ''),
            (['blocks.0', 'blocks.1'], ['blocks.0', 'blocks.1'], ''),
            (['backbone.stem', 'fc'], ['backbone.stem', 'fc'], ''),
            (['a.b.c.d'], ['a.b.c.d'], ''),
        ],
    )
    def test_shared_prefix_is_dropped(self, names, short, shared):
        assert parts.short_names(names) == (short, shared)

    def test_panels_fill_rows(self):
        assert [parts.panel_grid(count, 8) for count in (1, 8, 11, 16, 17)] == [
            (1, 1),
            (1, 8),
            (2, 6),
            (2, 8),
            (3, 6),
        ]


@pytest.mark.parametrize('unit,said', [('epoch', 'epoch 7'), ('iter', 'iteration 7')])
def test_figures_of_a_training_say_when_it_was(drawn, unit, said):
    """Where the last analyses fail, what is drawn is of an earlier epoch."""
    result = make()
    result.meta[unit] = 7
    plots.heat_map(result, 'a.png')
    plots.layer_curves(result, 'a.png')
    plots.epoch_curves({7: result}, 'a.png', unit)
    texts = [[text.get_text() for text in figure.texts] for figure in drawn]
    expected = f'alexnet{parts.SEPARATOR}{said}{parts.SEPARATOR}'
    assert [any(text.startswith(expected) for text in row) for row in texts] == [True, True, False]
