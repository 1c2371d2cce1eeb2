"""The phantom: what is drawn is what the list says."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mmclarity.restoration.evaluation import count_fabrications
from mmclarity.synthetic.phantom import PhantomSettings, _render, make_phantom
from tests import running

REPO = Path(__file__).resolve().parents[2]
TOOL = REPO / 'tools/dataset_generators/make_sem_phantom.py'
PLAIN = PhantomSettings(
    size=64,
    texture=0,
    beam=0,
    shadow=0,
    shading=0,
    rim=0,
    dimming=0,
    brightness=(0.5, 0.5),
    substrate=0.1,
)


def render(spheres, settings=PLAIN):
    return _render(np.array(spheres, float), settings, np.random.default_rng(0))


def test_a_disc_has_the_place_and_area_of_the_list():
    image, visible = render([[30.3, 25.7, 10.4]])
    share = (image - 0.1) / 0.4
    assert share.sum() == pytest.approx(np.pi * 10.4**2, rel=0.01)
    y, x = np.mgrid[:64, :64]
    assert (share * y).sum() / share.sum() == pytest.approx(30.3, abs=0.03)
    assert (share * x).sum() / share.sum() == pytest.approx(25.7, abs=0.03)
    assert visible == pytest.approx([1], abs=0.01)


def test_large_spheres_hide_small_ones_by_the_exact_part():
    image, visible = render([[32, 32, 12.0], [32, 43, 3.0], [32, 32, 3.0], [0, 10, 6.0]])
    # Area of the small disc beyond the large one, counted on a fine grid. Where both are seen
    # from above, the large sphere is the higher one.
    step = 0.02
    y, x = np.mgrid[-3:3:step, -3:3:step]
    inside = y**2 + x**2 <= 9
    beyond = (y**2 + (x + 11) ** 2) > 144
    large = 12 + np.sqrt(np.maximum(144 - y**2 - (x + 11) ** 2, 0))
    small = 3 + np.sqrt(np.maximum(9 - y**2 - x**2, 0))
    expected = (inside & (beyond | (small > large))).sum() / inside.sum()
    assert visible[1] == pytest.approx(expected, abs=0.03)
    assert visible[0] == pytest.approx(1, abs=0.01)
    assert visible[2] == 0
    # Row 0 is half a pixel beyond the border.
    assert 0.5 < visible[3] < 0.6


def test_rims_are_brighter_and_spheres_do_not_pass_through_each_other():
    settings = PhantomSettings(
        size=200, rim=0.3, texture=0, shading=0, beam=0, median_radius=20, spread=0.2
    )
    phantom = make_phantom(settings, 3)
    y, x, radius, _ = phantom.particles[np.argmax(phantom.particles[:, 3])]
    gy, gx = np.mgrid[:200, :200]
    distance = np.hypot(gy - y, gx - x) / radius
    rim = phantom.image[(distance > 0.88) & (distance < 0.95)].mean()
    assert rim > 1.05 * phantom.image[distance < 0.3].mean()
    p = phantom.particles
    gap = np.hypot(*(p[:, None, :2] - p[None, :, :2]).transpose(2, 0, 1))
    touching = 2 * np.sqrt(p[:, None, 2] * p[None, :, 2])
    np.fill_diagonal(gap, np.inf)
    assert (gap >= touching - 1e-9).all()


def test_a_seed_is_an_image_and_the_list_is_found_in_it():
    one, two, other = make_phantom(seed=1), make_phantom(seed=1), make_phantom(seed=2)
    assert np.array_equal(one.image, two.image) and np.array_equal(one.particles, two.particles)
    assert not np.array_equal(one.image, other.image)
    assert one.image.min() >= 0 and one.image.max() <= 1
    hidden = one.particles[:, 3] < 0.5
    count = count_fabrications(one.image, one.particles[:, :3], [0.05], ignore=hidden)[0]
    # Touching spheres make blobs that are none; of the rest, most are told apart.
    assert count['recall'] > 0.75 and count['precision'] > 0.7


@pytest.mark.parametrize(
    'options', [dict(size=8), dict(least_radius=0), dict(coverage=2), dict(beam=-1)]
)
def test_refuses(options):
    with pytest.raises(ValueError, match='must'):
        PhantomSettings(**options)


def test_no_spheres():
    assert make_phantom(PhantomSettings(size=32, coverage=0)).particles.shape == (0, 4)


def run(*arguments):
    return running.run('/', 'dataset_generators/make_sem_phantom.py', *arguments)


def test_tool(tmp_path):
    options = [tmp_path / 'a', '--train', 2, '--val', 1, '--size', 64, '--bits', 16]
    assert run(*options).returncode == 0
    high, low = (tifffile.imread(tmp_path / f'a/val/{n}/0000.tif') for n in ('high', 'low'))
    assert high.dtype == low.dtype == np.uint16 and high.shape == (64, 64)
    assert not np.array_equal(high, low)
    with open(tmp_path / 'a/val/particles/0000.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert rows and set(rows[0]) == {'y', 'x', 'radius', 'visible'}
    assert json.loads((tmp_path / 'a/phantom.json').read_text())['bits'] == 16
    assert 'already' in run(*options).stdout
    other = run(*options[:-1], 8)
    assert other.returncode == 2 and '--overwrite' in other.stderr
    assert run(*options[:-1], 8, '--overwrite').returncode == 0
    assert tifffile.imread(tmp_path / 'a/val/high/0000.tif').dtype == np.uint8
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/mine.txt').write_text('x')
    refused = run(tmp_path / 'b', '--overwrite')
    assert refused.returncode == 2 and (tmp_path / 'b/mine.txt').exists()
    assert not list(tmp_path.glob('.sem_phantom_*'))
