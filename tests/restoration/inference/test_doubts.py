"""Evidence about particles, the rule that joins it, and marks that no knob moves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_laplace

from mmclarity.restoration import Restorer
from mmclarity.restoration.general.appraising import appraise
from mmclarity.restoration.general.weights import WEIGHTS
from mmclarity.restoration.inference.doubts import (
    RULE,
    DoubtRule,
    Doubts,
    circles,
    find_doubts,
    particle_evidence,
    shipped_rule,
)
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom


def noisy_phantom(size: int = 160, seed: int = 3) -> np.ndarray:
    clean = make_phantom(PhantomSettings(size, median_radius=6), seed).image
    return clean + 0.12 * np.random.default_rng(seed).standard_normal(clean.shape)


@pytest.mark.parametrize('radius', [2.0, 5.0, 17.0])
def test_evidence_is_that_of_full_resolution_filters(radius):
    rng = np.random.default_rng(0)
    restored = gaussian_filter(rng.standard_normal((240, 260)), 3)
    noisy = restored + 0.3 * rng.standard_normal(restored.shape)
    places = np.array([[120, 130], [60, 200], [150, 70]], float)
    sigma = radius / np.sqrt(2)

    def response(image):
        return -(sigma**2) * gaussian_laplace(image, sigma)

    def deviation(image, reach):
        return np.sqrt(gaussian_filter(response(image) ** 2, reach))

    rows, columns = places.astype(int).T
    strength = np.abs(response(restored)[rows, columns]) + 0.01
    particles = np.column_stack([places, np.full(3, radius), strength])
    found = particle_evidence(noisy, restored, 0.5 * restored, particles)
    noise = deviation(noisy - restored, max(12, 2 * radius))[rows, columns]
    around = deviation(restored, 3 * radius)[rows, columns]
    np.testing.assert_allclose(found[:, 0], np.log(strength / noise), atol=0.12)
    np.testing.assert_allclose(found[:, 1], np.log(radius))
    left = np.clip(0.5 * response(restored)[rows, columns] / strength, -1, 3)
    np.testing.assert_allclose(found[:, 2], left, atol=0.1)
    np.testing.assert_allclose(found[:, 3], np.log(around / strength), atol=0.12)


def test_rule_is_a_logistic_regression():
    rule = DoubtRule((1.0, 0.0, -2.0, 0.0), 0.5, 0.4)
    chance = rule.chance(np.array([[0, 9, 0, 9], [1.5, 0, 1, 0], [-40, 0, 0, 0]]))
    np.testing.assert_allclose(chance, [1 / (1 + np.exp(-0.5)), 0.5, 0], atol=1e-9)


def test_shipped_rule_says_where_it_comes_from():
    told = json.loads(RULE.read_text())
    assert len(told['weights']) == len(told['columns']) == 4 and 'fit_doubts' in told['made_by']
    assert told['network'] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]
    assert shipped_rule().weights[0] < 0 < shipped_rule().mark  # a strong one is less doubtful


def test_what_will_be_wrong_without_a_mark():
    particles = np.tile([20.0, 20.0, 5.0, 0.1], (4, 1))
    image, chance = np.zeros((40, 40)), np.array([0.7, 0.3, 0.4, 0.5])
    found = Doubts(image, image, image, particles, chance, chance > 0.6)
    assert found.unmarked_wrong == pytest.approx(1.2)
    assert found.describe().startswith('4 particles, 1 of them doubtful; in scans of spheres')
    assert 'some 1 of the others' in found.describe()
    few = replace(found, chance=chance / 10, doubtful=chance > 1)
    assert few.describe().startswith('4 particles; in scans of spheres, hardly one of')
    assert few.describe().endswith('none is marked') and 'others' not in few.describe()
    other = replace(found, chance=np.full(4, np.nan))
    assert other.describe() == '4 particles, 1 of them doubtful' and np.isnan(other.unmarked_wrong)


def test_marks_do_not_depend_on_brightness_and_contrast():
    image = noisy_phantom()
    wide = np.rint(8000 + 50000 * image.clip(0, 1)).astype(np.uint16)
    narrow = np.rint(30000 + 5000 * image.clip(0, 1)).astype(np.uint16)
    restorer = Restorer(dtype='float32')
    first, second = restorer.with_doubts(wide), restorer.with_doubts(narrow)
    assert len(first.particles) == len(second.particles) >= 8
    # the top of a wide one is flat: rounding may move it by a pixel or two
    np.testing.assert_allclose(first.particles[:, :2], second.particles[:, :2], atol=2)
    np.testing.assert_allclose(first.particles[:, 2:], second.particles[:, 2:], atol=2e-3)
    np.testing.assert_allclose(first.chance, second.chance, atol=0.02)
    assert first.unmarked_wrong == pytest.approx(second.unmarked_wrong, rel=0.05)
    near = np.abs(first.chance - shipped_rule().mark) < 0.02
    assert (first.doubtful == second.doubtful)[~near].all()


def test_a_faint_blob_in_noise_is_more_doubtful_than_a_clear_particle():
    y, x = np.indices((160, 160))
    clean = np.full((160, 160), 0.3)
    for row, column, contrast in ((40, 40, 0.5), (40, 120, 0.5), (120, 40, 0.4), (120, 120, 0.03)):
        clean += contrast * (np.hypot(y - row, x - column) < 5)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
    found = find_doubts(noisy, clean, clean, 0 * clean, appraise(noisy), clean)
    assert np.isfinite(found.chance).all() and found.evidence.shape == (len(found.particles), 4)
    faint = np.argmin(np.hypot(*(found.particles[:, :2] - 120).T))
    clear = np.argmin(np.hypot(*(found.particles[:, :2] - 40).T))
    assert found.chance[faint] > 3 * found.chance[clear]
    assert (found.doubtful == (found.chance >= shipped_rule().mark)).all()


def test_other_networks_have_no_chances_but_marks():
    image = noisy_phantom().astype(np.float32)
    like = appraise(image)
    for alone in (True, False):
        found = find_doubts(image, image, image, 0 * image, like, None, alone)
        assert len(found.particles) and np.isnan(found.chance).all() and found.evidence is None
        assert found.doubtful.shape == (len(found.particles),)
    nothing = find_doubts(*[np.full((40, 40), 0.5)] * 3, np.zeros((40, 40)), like, None)
    assert nothing.particles.shape == (0, 4) and nothing.doubtful.shape == (0,)
    with pytest.raises(ValueError, match='alike'):
        particle_evidence(image[1:], image, image, np.zeros((0, 4)))


def test_progress_and_the_parts_of_an_answer():
    told = []
    restorer = Restorer()
    pixels = (noisy_phantom(96).clip(0, 1) * 255).astype(np.uint8)
    found = restorer.with_doubts(pixels, progress=lambda *done: told.append(done))
    assert told == [(i, 6) for i in range(1, 7)]
    plain, mean, std = restorer.with_uncertainty(pixels)
    np.testing.assert_array_equal(found.restored, plain)
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.std, std)


def test_circles_in_pixels_of_a_reduced_picture():
    particles = np.array([[10.0, 30.0, 6.0, 0.2], [4.0, 8.0, 1.0, 0.1]])
    assert circles(particles, [True, False], 0.5) == [(15.0, 5.0, 4.0, 1), (4.0, 2.0, 2.0, 0)]


def test_the_tool_fits_what_was_put_in(monkeypatch, tmp_path):
    import sys

    monkeypatch.setattr(sys, 'path', [str(Path(__file__).parents[3] / 'tools'), *sys.path])
    import fit_doubts as tool

    rng = np.random.default_rng(0)
    evidence = rng.standard_normal((60 * 200, 4))
    truth = np.array([-2.0, 0.5, 0.0, 1.0])
    wrong = rng.random(len(evidence)) < 1 / (1 + np.exp(-(evidence @ truth - 2.5)))
    strength = np.exp(rng.uniform(np.log(0.01), np.log(0.3), len(evidence)))
    simulated = tool.SIMULATED + np.arange(15)
    pair = np.repeat([*tool.FIT, *tool.JUDGE, *simulated], 200)
    parts = dict(evidence=evidence, wrong=wrong, strength=strength, pair=pair)
    np.savez(tmp_path / 'e.npz', noise=np.full(len(pair), 0.15), **parts)
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- doubts: begin -->\n<!-- doubts: end -->\n')
    options = ['--data', str(tmp_path), '--evidence', str(tmp_path / 'e.npz')]
    assert tool.main([*options, '--out', str(tmp_path), '--page', str(page)]) == 0
    told = json.loads((tmp_path / 'doubts.json').read_text())
    np.testing.assert_allclose(told['weights'], truth, atol=0.25)
    assert told['intercept'] == pytest.approx(-2.5, abs=0.25)
    rule = DoubtRule(tuple(told['weights']), told['intercept'], told['mark'])
    assert wrong[rule.chance(evidence) >= rule.mark].mean() == pytest.approx(0.5, abs=0.03)
    text = page.read_text()
    assert '| 036-050 | 0.01 | 200 |' in text and '| simulated, noise above 12 % | 0.01 |' in text
    chance = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert tool.lowest_mark(chance, np.array([1, 0, 1, 0, 0])) == tool.NEVER  # too few
    many = np.repeat(chance, 5), np.repeat([1, 0, 1, 0, 0], 5)
    assert tool.lowest_mark(*many) == 0.6
    assert tool.lowest_mark(chance, np.zeros(5)) == tool.NEVER
    assert tool.at_recall(chance, np.array([1, 0, 1, 0, 0]), 1.0) == pytest.approx(2 / 3)


def test_nothing_in_pure_noise_is_believed():
    noise = np.random.default_rng(1).normal(127, 12, (160, 160)).clip(0, 255).astype(np.uint8)
    with pytest.warns(UserWarning, match='nothing is seen in it'):
        found = Restorer().with_doubts(noise)
    assert found.doubtful.all()
    if len(found.particles):
        assert 'all doubtful' in found.describe()
