"""Black bars are cut off, and nothing else is."""

from __future__ import annotations

import csv
import re

import cv2
import numpy as np
import pytest

from mmclarity.cli.detect import main
from mmclarity.detection.inference.black_bars import inside_bars
from mmclarity.detection.inference.detector import Detector
from tests.docs.guides import ROOT


@pytest.fixture(scope='module')
def picture():
    """Smooth colours, dark ones among them, of 8 bit."""
    rng = np.random.default_rng(0)
    small = rng.integers(20, 220, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (640, 360), interpolation=cv2.INTER_LINEAR)


def with_bars(image, top=0, bottom=0, left=0, right=0, level=0):
    edges = (top, bottom, left, right)
    return cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=(level,) * 3)


def packed(image, quality):
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def bounds(image):
    rows, columns = inside_bars(image)
    return rows.start, rows.stop, columns.start, columns.stop


@pytest.mark.parametrize(
    'bars',
    [
        dict(top=60, bottom=60),
        dict(left=107, right=107),
        dict(top=61, bottom=60, left=31, right=33),
        dict(top=9, bottom=9),
        dict(top=60, bottom=60, level=6),
        dict(top=600, bottom=600),
    ],
)
def test_bars_are_found_to_the_pixel(picture, bars):
    top, left = bars.get('top', 0), bars.get('left', 0)
    assert bounds(with_bars(picture, **bars)) == (top, top + 360, left, left + 640)


@pytest.mark.parametrize('quality', [95, 75, 30])
@pytest.mark.parametrize('width', [20, 61])
def test_jpeg_blurs_them_by_few_pixels(picture, quality, width):
    image = packed(with_bars(picture, width, width, width, width), quality)
    expected = (width, width + 360, width, width + 640)
    assert np.abs(np.subtract(bounds(image), expected)).max() <= 4


def test_what_is_no_bar(picture):
    night = picture.copy()
    noise = np.random.default_rng(1).integers(0, 18, (80, 640, 3), dtype=np.uint8)
    night[:80], night[-80:] = noise, noise  # dark, but with something in it
    for image in (
        picture,
        night,
        with_bars(picture, top=60),  # a sky, a bonnet
        with_bars(picture, top=60, bottom=40),
        with_bars(picture, left=3, right=3),
        with_bars(picture, 60, 60, level=40),
        with_bars(picture[:20], 170, 170),
        np.zeros((360, 640, 3), np.uint8),
        np.full((360, 640, 3), 255, np.uint8),
        *(np.full((h, w, 3), v, np.uint8) for h, w in ((1, 1), (2, 3), (5, 1)) for v in (0, 200)),
    ):
        assert bounds(image) == (0, image.shape[0], 0, image.shape[1])


def test_views_of_other_arrays(picture):
    image = with_bars(picture, 60, 60)
    assert bounds(image[:, ::-1]) == bounds(image) == (60, 420, 0, 640)
    assert bounds(image[::2, ::2, ::-1]) == (30, 210, 0, 320)


def test_detections_lie_where_they_lie_in_the_picture(street):
    detector = Detector(device='cpu', threshold=0.05)
    assert detector.cuts_bars
    film, room = with_bars(street, 60, 60), with_bars(street, left=120, right=120)
    plain, on_film, in_room, again = detector([street, film, room, street])
    assert len(plain) > 0
    for found, move in ((on_film, [0, 60]), (in_room, [120, 0]), (again, [0, 0])):
        # they go through the network together: its last digits are the batch's
        np.testing.assert_allclose(found.boxes, plain.boxes + np.tile(move, 2), atol=0.05)
        np.testing.assert_allclose(found.scores, plain.scores, atol=2e-3)
        assert found.names == plain.names
    detector.cuts_bars = False  # judged smaller
    assert not np.array_equal(detector([film])[0].scores, on_film.scores)


def test_detectors_of_ones_own_keep_them(checkpoint, scene):
    own = Detector('configs/lambda_frcnn_murky.py', checkpoint, device='cpu', threshold=0.3)
    assert not own.cuts_bars
    film = with_bars(scene, 48, 48)
    whole = own.inferencer([film], return_datasamples=True, no_save_vis=True)['predictions'][0]
    scores = whole.pred_instances.scores.numpy()
    assert len(own([film])[0]) == (scores >= 0.3).sum()


def test_the_page_of_attention_tells_the_boxes_of_the_tables(checkpoint, scene, tmp_path, capsys):
    """Those of the page were counted from below the bar, those of the tables from the border."""
    film = with_bars(scene, 48, 48)
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / name), film)
    config = tmp_path / 'cuts.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/lambda_frcnn_murky.py")!r}\ncut_black_bars = True\n'
    )
    out = tmp_path / 'out'
    given = ['--config', str(config), '--checkpoint', checkpoint, '--threshold', '0.1']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmclarity.cli.detect.MOST_LOOKS', 1)
        assert main([f'{tmp_path}/?.png', '--out', str(out), *given, '--attention']) == 0
    assert 'attention.html shows the first 1 of 2 images' in capsys.readouterr().out
    page = (out / 'attention.html').read_text()
    assert f'<title>Attention: {tmp_path}/?.png</title>' in page  # it was called ?.png
    told = re.findall(r'"score":[\d.]+,"box":\[([^\]]*)\],"proposal"', page)
    on_page = np.array([list(map(float, box.split(','))) for box in told])
    with open(out / 'detections.csv') as file:
        rows = [row for row in csv.DictReader(file) if row['image'] == 'a.png']
    in_table = np.array([[float(row[key]) for key in ('x1', 'y1', 'x2', 'y2')] for row in rows])
    assert len(in_table) > 5
    order = [np.lexsort(boxes.round(0).T) for boxes in (on_page, in_table)]
    np.testing.assert_allclose(on_page[order[0]], in_table[order[1]], atol=0.6)
    assert f'"height":{film.shape[0]}' in page and f'"height":{scene.shape[0]}' not in page
