"""The ideal observer of particles, against closed forms, whole covariances and drawn scans."""

import numpy as np
import particle_limit
import pytest
from particle_limit import Scan, decided, detectability, expected
from scipy.linalg import toeplitz
from scipy.special import expit
from scipy.stats import norm


@pytest.fixture(autouse=True)
def sharp(monkeypatch):
    monkeypatch.setattr(particle_limit, 'BLUR', 1e-3)


def disc(contrast, radius, level=100.0, at=(40, 45)):
    y, x = np.indices((80, 90))
    inside = np.hypot(y - at[0], x - at[1]) <= radius
    return level + contrast * inside, inside


@pytest.mark.parametrize(('contrast', 'radius'), [(8.0, 3.0), (-5.0, 6.0), (20.0, 1.5)])
def test_a_disc_in_white_noise_has_the_root_of_its_area(contrast, radius):
    image, inside = disc(contrast, radius)
    found = detectability(image, np.array([40.0, 45.0, radius]), np.array([0.0, 25.0]), ())
    assert found == pytest.approx(abs(contrast) * np.sqrt(inside.sum()) / 5, rel=1e-3)


def test_noise_that_the_line_shares_and_that_grows_with_the_level():
    image, inside = disc(12.0, 4.0)
    variance, lags = np.array([0.5, 3.0]), (0.48, 0.09, 0.02)
    found = detectability(image, np.array([40.0, 45.0, 4.0]), variance, lags)
    # with the whole covariance of a window
    window = np.s_[30:51, 35:56]
    signal = (12.0 * inside)[window] / np.sqrt(np.polyval(variance, image[window]))
    shared = toeplitz([1, *lags, *[0] * 17])
    whole = np.kron(np.eye(21), shared)
    wanted = np.sqrt(signal.ravel() @ np.linalg.solve(whole, signal.ravel()))
    assert found == pytest.approx(wanted, rel=0.01)
    assert found < detectability(image, np.array([40.0, 45.0, 4.0]), variance, ())


def test_a_particle_at_the_border_is_cut_off_there():
    image, inside = disc(10.0, 5.0, at=(0, 2))
    found = detectability(image, np.array([0.0, 2.0, 5.0]), np.array([0.0, 1.0]), ())
    assert found == pytest.approx(10 * np.sqrt(inside.sum()), rel=1e-3)


def test_alike_particles_are_missed_as_the_normal_law_says():
    one = Scan(np.full(50, 0.04), np.full(50, 3.0), 1000.0)
    for invented in (0.5, 3.0):
        missed = 50 * norm.cdf(norm.isf(invented / 1000) - 3)
        assert decided(one, invented, 0.03) == pytest.approx(missed, rel=1e-6)
    assert decided(one, 1.0, 0.05) == 0  # of that strength there are none
    clear = Scan(np.full(50, 0.04), np.full(50, 12.0), 1000.0)
    assert decided(clear, 0.5, 0.03) < 1e-6


@pytest.mark.parametrize('doubt', [0.0, 2.0])
def test_what_is_to_be_expected_of_drawn_scans(doubt):
    rng = np.random.default_rng(0)
    one = Scan(rng.uniform(0.03, 0.1, 40), rng.uniform(1, 5, 40), 400.0)
    invented, missed = expected(one, doubt)
    draws, odds = 4000, np.log(40 / 400) - doubt
    noise = rng.standard_normal((draws, 40))
    there, empty = (
        one.strength * expit(odds + one.detectability * (noise + here) - one.detectability**2 / 2)
        for here in (one.detectability, 0)
    )
    for place, threshold in enumerate(particle_limit.THRESHOLDS):
        drawn = 400 * (empty >= threshold).mean()
        assert invented[place] == pytest.approx(drawn, rel=0.15, abs=0.05)
        drawn = (there < threshold / 2)[:, one.strength >= threshold].sum() / draws
        assert missed[place] == pytest.approx(drawn, rel=0.05, abs=0.05)
    assert (expected(one, doubt + 1)[0] <= invented).all()
    assert (expected(one, doubt + 1)[1] >= missed).all()
