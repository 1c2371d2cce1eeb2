"""The count of fabricated and missed particles, on phantoms where every one of them is known.

A planted particle is a soft disc of known contrast and radius, on ground where no other particle
lies. It is visible at a threshold if a disc of its contrast and radius, alone, is a quarter
stronger than that.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.evaluation import (
    count_fabrications,
    detect_particles,
    match_particles,
    standing_out,
)
from mmclarity.restoration.evaluation.fabrication import THRESHOLDS
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIZE, SEEDS = 192, range(4)


def phantom(seed):
    found = make_phantom(PhantomSettings(SIZE, coverage=0.35), seed)
    return found.image.astype(np.float64), found.particles


def disc(y, x, radius, contrast):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return contrast / (1 + np.exp((np.hypot(rows - y, columns - x) - radius) / 0.4))


def planted(seed, contrast):
    """Reference, the same with more particles, and those (K, 4): y, x, radius, strength."""
    reference, particles = phantom(seed)
    rng = np.random.default_rng(100 + seed)
    image, added = reference.copy(), []
    seen = particles[particles[:, 3] > 0.2]
    for _ in range(3000):
        radius = rng.uniform(2.5, 8)
        y, x = rng.uniform(radius + 6, SIZE - radius - 7, 2)
        others = np.array([*seen[:, :3].tolist(), *(p[:3] for p in added)])
        if (np.hypot(others[:, 0] - y, others[:, 1] - x) < others[:, 2] + radius + 4).any():
            continue
        alone = disc(y, x, radius, contrast)
        image = image + alone
        added.append((y, x, radius, detect_particles(alone)[0, 3]))
        if len(added) == 6:
            break
    return reference, image, np.array(added)


def tally(counts, key, added):
    """(T, 3): visible ones found, visible ones, and counted ones that were never planted."""
    rows = []
    for count in counts:
        visible = added[:, 3] >= 1.25 * count['threshold']
        pairs, extra, _ = match_particles(count[key], added)
        rows.append((visible[pairs[:, 1]].sum(), visible.sum(), len(extra)))
    return np.array(rows)


@pytest.mark.parametrize('contrast', [0.1, 0.2, 0.4])
def test_planted_and_erased_particles_are_counted(contrast):
    planted_rows, erased_rows = np.zeros((2, len(THRESHOLDS), 3), int)
    for seed in SEEDS:
        reference, image, added = planted(seed, contrast)
        more = count_fabrications(image, reference)
        less = count_fabrications(reference, image)
        planted_rows += tally(more, 'fabricated_particles', added)
        erased_rows += tally(less, 'missed_particles', added)
        assert all(count['missed'] == 0 for count in more)
        assert all(count['fabricated'] == 0 for count in less)
    for rows in (planted_rows, erased_rows):
        hits, visible, extra = rows.sum(0)
        assert visible > 20
        assert hits / visible > 0.95  # recall
        assert hits / (hits + extra) > 0.95  # precision


def test_one_contrast_decides_at_each_threshold():
    # far below the threshold a planted particle is not counted
    reference, image, added = planted(0, 0.1)
    (count,) = count_fabrications(image, reference, [1.5 * added[:, 3].max()])
    assert count['fabricated'] == 0


@pytest.mark.parametrize('seed', SEEDS)
def test_perfect_blurred_and_sharpened_invent_and_lose_nothing(seed):
    reference, _ = phantom(seed)
    fine = gaussian_filter(reference, 1)
    unchecked = 0
    for restored in (
        reference,
        gaussian_filter(reference, 0.5),
        gaussian_filter(reference, 0.8),
        reference + 0.3 * (reference - fine),
        reference + 0.6 * (reference - fine),
        0.9 * reference + 0.02,
    ):
        for count in count_fabrications(restored, reference):
            assert count['fabricated'] == count['missed'] == 0
            unchecked += count['fabricated_unchecked'] + count['missed_unchecked']
    assert unchecked > 5  # the old count had rims and gaps among them


def test_raw_noise_is_far_above():
    reference, _ = phantom(0)
    noisy = reference + 0.1 * np.random.default_rng(0).standard_normal(reference.shape)
    counts = count_fabrications(noisy, reference)
    assert counts[0]['fabricated'] > 100
    assert all(c['fabricated'] <= c['fabricated_unchecked'] for c in counts)


def test_exact_list_with_the_image_checks_the_difference():
    reference, image, added = planted(1, 0.3)
    (count,) = count_fabrications(reference, image, [0.05], particles=added[:, :3])
    assert count['missed'] == count['missed_unchecked'] == len(added)
    # a list that names what nobody can see in the image
    (count,) = count_fabrications(reference, reference, [0.05], particles=added[:, :3])
    assert count['missed_unchecked'] == len(added)
    assert count['missed'] == 0


def test_standing_out_by_place_scale_and_strength():
    particle = np.array([[50.0, 50, 6, 0.2]])
    for other, expected in (
        ([50, 52, 5, 0.1], True),
        ([50, 52, 5, 0.09], False),  # less than half of its strength
        ([50, 54, 6, 0.2], False),  # elsewhere
        ([50, 50, 2.5, 0.2], False),  # much smaller
    ):
        assert standing_out(particle, np.array([other], float), 0.05).tolist() == [expected]
    assert standing_out(particle, np.zeros((0, 4)), 0.05).tolist() == [False]
    assert standing_out(np.zeros((0, 4)), particle, 0.05).shape == (0,)
    assert not standing_out(particle, np.array([[50.0, 50, 6, 0.2]]), 0.3).any()
