"""Fast products against exact ones, and memory that is used again."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mmclarity.rsa import RDMAccumulator, compute_rdm
from mmclarity.rsa.rdms import accumulator, compute
from mmclarity.rsa.rdms.accumulator import CHUNK_UNITS, LONG, SAMPLE, SHORT, TILE
from mmclarity.rsa.rdms.memory import LARGE, Slabs, available_memory


def rdm(responses, metric, **kwargs):
    with RDMAccumulator(metric, **kwargs) as found:
        for block in np.array_split(responses, 3):
            found.update(block)
        return found.result()


@pytest.mark.parametrize('metric', ['correlation', 'cosine', 'euclidean'])
@pytest.mark.parametrize('max_bytes', [1 << 30, 1])
@pytest.mark.parametrize('units', [5, SHORT + 1, LONG + 1, 3 * CHUNK_UNITS])
@pytest.mark.parametrize('mean', [0.0, 100.0])
def test_single_precision_is_within_1e_6(metric, units, max_bytes, mean, tmp_path):
    rng = np.random.default_rng(1)
    shared = rng.normal(size=units)  # stimuli resemble one another
    responses = (mean + shared + rng.normal(size=(30, units)) / 3).astype(np.float32)
    exact = compute_rdm(responses.astype(np.float64), metric)
    got = rdm(responses, metric, exact=False, max_bytes=max_bytes, spill_dir=str(tmp_path))
    assert np.abs(got - exact).max() < 1e-6 * (exact.max() if metric == 'euclidean' else 1)


@pytest.mark.parametrize('metric', ['correlation', 'cosine', 'euclidean'])
@pytest.mark.parametrize('threshold', [0.0, 2.0])
def test_rectified_layers_are_within_half_of_that(metric, threshold):
    """Most units are zero, a few are thousands of times the others."""
    rng = np.random.default_rng(2)
    scales = rng.lognormal(0, 2, 30_000)
    responses = np.maximum(rng.normal(size=(40, 30_000)) - threshold, 0) * scales
    responses = responses.astype(np.float32)
    exact = compute_rdm(responses.astype(np.float64), metric)
    got = rdm(responses, metric, exact=False)
    assert np.abs(got - exact).max() < 5e-7 * (exact.max() if metric == 'euclidean' else 1)


def test_a_sample_of_units_that_misleads_is_found_out():
    """The sampled units spread about zero; nearly all others sit at 100."""
    rng = np.random.default_rng(3)
    responses = 100 + rng.normal(size=(20, 4 * SAMPLE)).astype(np.float32)
    responses[:, ::4] = 10 * rng.normal(size=(20, SAMPLE))
    rows = accumulator._Rows([torch.from_numpy(responses)])
    assert accumulator._plain_gram(rows, 'correlation') is None
    np.testing.assert_allclose(
        rdm(responses, 'correlation', exact=False), compute_rdm(responses), atol=1e-6, rtol=0
    )


def test_more_stimuli_than_a_tile():
    responses = np.random.default_rng(1).normal(size=(2 * TILE + 3, 70)).astype(np.float32)
    np.testing.assert_allclose(
        rdm(responses, 'correlation', exact=False), compute_rdm(responses), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize('own_sums', [0, 1 << 30])
@pytest.mark.parametrize('workers', [1, 3])
def test_threads_share_units_or_tiles(own_sums, workers, monkeypatch):
    """Both ways, whatever machine this is; 150 units in chunks of 64."""
    monkeypatch.setattr(accumulator, 'OWN_SUMS', own_sums)
    monkeypatch.setattr(accumulator, 'available_cpus', lambda: workers)
    monkeypatch.setattr(accumulator, 'TILE', 8)
    monkeypatch.setattr(accumulator, 'CHUNK_ENTRIES', 1)
    responses = 5 + np.random.default_rng(4).normal(size=(21, 150)).astype(np.float32)
    for metric in ('correlation', 'cosine', 'euclidean'):
        np.testing.assert_allclose(
            rdm(responses, metric, exact=False), compute_rdm(responses, metric), atol=1e-6
        )


def test_strips_of_many_stimuli_are_the_whole_product(monkeypatch):
    responses = np.random.default_rng(6).normal(size=(30, 700))
    expected = compute_rdm(responses)
    monkeypatch.setattr(compute, 'LARGE', 8)
    monkeypatch.setattr(compute, 'BLOCK_ENTRIES', 30 * 70)
    np.testing.assert_allclose(compute_rdm(responses), expected, rtol=1e-13)


@pytest.mark.slow
def test_ten_thousand_stimuli_take_little_more_than_their_responses():
    """2,500 x 11,000 here: the peak beyond responses is two squares and a few chunks."""
    code = (
        'import resource, numpy as np\n'
        'from mmclarity.rsa import RDMAccumulator\n'
        'rng, rss = np.random.default_rng(0), lambda: resource.getrusage(0).ru_maxrss << 10\n'
        'with RDMAccumulator(exact=False) as all_:\n'
        '    for _ in range(25):\n'
        '        all_.update(rng.normal(size=(100, 11_000)).astype(np.float32))\n'
        '    before = rss()\n'
        '    all_.result()\n'
        'print(rss() - before)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    square = 8 * 2500**2
    assert int(done.stdout) < 2.5 * square + (200 << 20)


@pytest.mark.parametrize('units', [20_000, 300_000])
def test_many_small_responses_beside_a_few_large_ones(units):
    """As rectified layers have them: a long sum in float32 would lose the small ones."""
    rng = np.random.default_rng(5)
    responses = np.abs(rng.standard_cauchy((20, units))).clip(0, 300).astype(np.float32)
    responses[:, ::3] = 0
    np.testing.assert_allclose(
        rdm(responses, 'correlation', exact=False), compute_rdm(responses), atol=5e-7, rtol=0
    )


def test_single_precision_of_sparse_rectified_responses():
    responses = np.maximum(np.random.default_rng(2).normal(-1, 1, (40, 20_000)), 0)
    responses *= 10.0 ** np.random.default_rng(3).uniform(-6, 6, (40, 1))  # stimuli of any size
    responses = responses.astype(np.float32)
    for metric in ('correlation', 'cosine'):
        exact = compute_rdm(responses, metric)
        np.testing.assert_allclose(rdm(responses, metric, exact=False), exact, atol=1e-6, rtol=0)


@pytest.mark.parametrize('scale', [1e25, 1e-20, 1e-25])
def test_where_squares_leave_float32_products_are_exact(scale):
    responses = (np.random.default_rng(0).normal(size=(9, 50)) * scale).astype(np.float32)
    np.testing.assert_allclose(
        rdm(responses, 'correlation', exact=False), compute_rdm(responses), atol=1e-6
    )


def test_faults_are_named_as_by_exact_products():
    responses = np.random.default_rng(0).normal(size=(9, 50))
    for value, match in ((np.nan, 'stimulus 4 holds NaN'), (0.1, 'stimulus 4 is constant')):
        responses[4] = value
        with pytest.raises(ValueError, match=match):
            rdm(responses, 'correlation', exact=False)


def test_memory_is_used_again():
    memory = Slabs(1 << 24)
    first = memory.take(8, LARGE // 8)
    place = first.data_ptr()
    memory.give(first)
    assert memory.used == 0 and memory.take(4, LARGE // 4).data_ptr() == place
    assert memory.used == 4 * LARGE and memory.take(1, 1 << 22) is None


def test_larger_pieces_serve_and_what_is_held_stays_below_the_limit():
    memory = Slabs(16 * LARGE)
    pieces = [memory.take(2, LARGE // 2) for _ in range(4)]  # of 4 bytes each: all there is
    assert memory.take(1, 1) is None
    places = {piece.data_ptr() for piece in pieces}
    for piece in pieces:
        memory.give(piece)
    smaller = [memory.take(3, LARGE // 4) for _ in range(4)]
    assert {piece.data_ptr() for piece in smaller} == places
    assert memory.used == 4 * 4 * 3 * (LARGE // 4)
    for piece in smaller:
        piece.fill_(1)
        memory.give(piece)
    # Far smaller ones do not take them, and one of all bytes needs the room of all of them.
    assert memory.take(1, 8).data_ptr() not in places
    assert memory.take(2, 2 * LARGE - 8) is not None and memory._held <= memory.limit
    assert len(memory._free) == 0


def test_accumulators_share_a_limit_and_give_back():
    memory = Slabs(4 * 30 * 50)
    responses = torch.randn(30, 50)
    with RDMAccumulator(memory=memory) as first, RDMAccumulator(memory=memory) as second:
        first.update(responses)
        second.update(responses)  # beyond the limit: goes into a file
        np.testing.assert_array_equal(first.result(), second.result())
    assert memory.used == 0


def test_what_is_available_is_no_more_than_the_machine_has():
    assert 0 < available_memory() < 1 << 50
