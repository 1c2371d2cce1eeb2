"""The page of V1, V4 and IT: its numbers come from the draws, its tables from the kept results."""

import json

import numpy as np
import pytest
import rsa_areas as bench
import rsa_areas_report as reports

from tests.docs.guides import ROOT
from tests.real_data import DATA, needs

RESULTS = ROOT / 'docs/benchmarks/results/rsa_v1_v4_it.json'
PAGE = ROOT / 'docs/benchmarks/rsa_v1_v4_it.md'


def found(layers, shift=0.0, seeds=3, draws=200):
    """What one area has: scores of a trained network and of ``seeds`` random ones, and draws."""
    rng = np.random.default_rng(len(layers) + seeds)
    observed = np.concatenate([[0.1, 0.4, 0.2], *np.full((seeds, 3), 0.1)]) + shift
    observed[3:6] += 0.06  # one random network is better than the others
    samples = observed + rng.normal(0, 0.02, (draws, len(observed)))
    return bench._scores(observed, samples, len(layers))


LAYERS = ['a', 'b', 'c']


def test_random_networks_are_averaged_and_drawn():
    one = found(LAYERS)
    np.testing.assert_allclose(one['untrained'], 0.1 + 0.06 / 3)
    np.testing.assert_allclose(one['untrained_range'], [[0.1] * 3, [0.16] * 3])
    draws = np.array(one['untrained_draws'])
    # A mean of three draws of networks, one of which is 0.06 above: binomial, and the noise.
    expected = np.hypot(0.06 * np.sqrt(2 / 9 / 3), 0.02 / np.sqrt(3) * np.sqrt(5 / 3))
    assert draws.std(0) == pytest.approx(np.full(3, expected), rel=0.2)
    alone = found(LAYERS, seeds=1)
    assert alone['untrained'] == pytest.approx([0.16] * 3)
    assert np.std(alone['untrained_draws'], axis=0) == pytest.approx(np.full(3, 0.02), rel=0.2)


def test_a_network_is_summed_up():
    entry = bench._summary(LAYERS, {'V4': found(LAYERS), 'human IT': found(LAYERS, 0.05)})
    v4 = entry['areas']['V4']
    assert v4['best'] == 'b' and v4['positions']['peak'][0] == 0.5
    assert v4['gain'] == pytest.approx([-0.02, 0.28, 0.08])
    assert all(low < gain < high for gain, (low, high) in zip(v4['gain'], v4['gain_interval']))
    assert list(entry['orders']) == ['V4 before human IT'] and 'draws' not in v4
    difference, low, high, p = entry['orders']['V4 before human IT']['peak']
    assert (difference, low, high) == (0, 0, 0) and p == 1
    text = reports.markdown({'alexnet': entry})
    assert '### AlexNet' in text
    row = next(line for line in text.splitlines() if line.startswith('| b '))
    assert '0.400 [0.3' in row and '0.120 (0.10 to 0.16) \\*' in row


def test_sessions_are_combined_with_what_differs_between_them():
    near = [('x', found(LAYERS)), ('y', found(LAYERS, 0.01))]
    far = [('x', found(LAYERS)), ('y', found(LAYERS, 0.3))]
    narrow, wide = (
        bench._summary(LAYERS, {'V4': bench._combined(pair)})['areas']['V4'] for pair in (near, far)
    )
    assert 0.4 < narrow['scores'][1] < 0.41 < 0.5 < wide['scores'][1] < 0.65
    for part in ('scores_interval', 'untrained_interval'):
        width = [np.diff(one[part], axis=1).mean() for one in (narrow, wide)]
        assert width[1] > 3 * width[0], part
    # Both networks are shifted alike: the difference is a paired one, and hardly wider.
    gain = [np.diff(one['gain_interval'], axis=1)[1] for one in (narrow, wide)]
    assert gain[1] < 2 * gain[0]
    assert wide['i2'][1] > 0.9 and set(wide['sessions']) == {'x', 'y'}


def test_the_page_shows_the_kept_results(tmp_path):
    text = PAGE.read_text(encoding='utf-8')
    table = json.loads(RESULTS.read_text(encoding='utf-8'))
    assert reports.markdown(table) in text
    assert list(table) == list(reports.TITLES)
    reports.draw(table, tmp_path / 'figure.png')
    assert (tmp_path / 'figure.png').stat().st_size > 50_000


@needs('rsa_92/alexnet_rdms.npz')
def test_alexnet_is_recorded_compared_and_reported(tmp_path, monkeypatch, capsys):
    # Random numbers in place of random networks, of 61 million weights each.
    random = np.random.default_rng(0).random((2, len(bench.ALEXNET), 4186))
    monkeypatch.setattr(bench, '_random_rdms', lambda *args, **options: random)
    bench.record_alexnet(DATA, tmp_path)
    bench.compare(DATA, tmp_path, 20)
    entry = json.loads((tmp_path / 'areas.json').read_text())['alexnet']
    assert entry['layers'] == list(bench.ALEXNET) and list(entry['areas']) == list(
        reports.AREAS[2:]
    )
    macaque = entry['areas']['macaque IT']
    listed = dict(conv1=0.115, conv2=0.172, conv3=0.216, conv4=0.186, conv5=0.081, fc8=0.230)
    for layer, known in listed.items():
        assert macaque['scores'][entry['layers'].index(layer)] == pytest.approx(known, abs=3e-3)
    assert entry['areas']['human IT']['ceiling'] == pytest.approx([0.3723, 0.6657], abs=1e-4)
    page = tmp_path / 'page.md'
    page.write_text('<!-- tables: begin -->\nold\n<!-- tables: end -->\nrest\n')
    reports.report(tmp_path / 'areas.json', tmp_path, page)
    assert '| conv5 |' in page.read_text() and page.read_text().endswith('rest\n')
    assert (tmp_path / 'rsa_v1_v4_it.png').is_file() and 'old' not in page.read_text()
