"""Coloured scale bars and texts in grey pictures: they stay, the rest is restored without them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.restoration.io.annotations import coloured, fill
from mmclarity.restoration.io.micrograph import SEMImageError, read_sem, write_sem
from mmclarity.restoration.io.stack import open_stack
from mmclarity.restoration.io.stored import ColourImageError


def annotated(height: int = 90, width: int = 120) -> np.ndarray:
    """A grey picture of (H, W, 3) with a red scale bar and green text of soft edges."""
    grey = np.random.default_rng(0).integers(64, 127, (height, width)).astype(np.uint8)
    image = np.stack([grey] * 3, -1)
    cv2.line(image, (10, 80), (60, 80), (255, 0, 0), 3)
    cv2.putText(image, '1 um', (12, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 0), 1, cv2.LINE_AA)
    return image


@pytest.mark.parametrize('count', [3, 4])
def test_pages_that_were_written_as_colours_are_told_how_to_be_written(tmp_path, count):
    """tifffile takes three or four pages for one picture, if it is not told what they are."""
    pages = np.random.default_rng(0).integers(0, 255, (count, 40, 50)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', pages, photometric='rgb', planarconfig='separate')
    with pytest.raises(ColourImageError, match=r"--channel 0.*photometric='minisblack'\)$"):
        read_sem(tmp_path / 'a.tif')
    tifffile.imwrite(tmp_path / 'b.tif', np.moveaxis(pages, 0, -1), photometric='rgb')
    with pytest.raises(ColourImageError, match='or save it in grey$'):
        read_sem(tmp_path / 'b.tif')


@pytest.mark.parametrize('channel', [0, 1, 2])
def test_grey_pages_among_coloured_ones_have_no_channel_to_choose(tmp_path, channel):
    """The second channel of the coloured page was asked of the grey one, which has none."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 50)).astype(np.uint8)
    colour = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for page in (grey, colour, grey):
            file.write(page, contiguous=False, metadata=None)
    with open_stack(tmp_path / 'a.tif', channel=channel) as stack:
        found = [image.image for image in stack]
    for image, wanted in zip(found, (grey, colour[..., channel], grey)):
        np.testing.assert_array_equal(image, wanted)
    tifffile.imwrite(tmp_path / 'b.tif', np.stack([grey, grey]), photometric='minisblack')
    if channel:
        with (
            open_stack(tmp_path / 'b.tif', channel=channel) as stack,
            pytest.raises(SEMImageError, match='but the file has 1 channel'),
        ):
            stack[0]


def test_of_a_stack_the_page_is_named_whose_colour_is_to_be_chosen(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for _ in range(2):
            file.write(annotated(), photometric='rgb')
    message = r'a\.tif: a colour.* \(page 2 of 2\)$'
    with (
        open_stack(tmp_path / 'a.tif') as stack,
        pytest.raises(ColourImageError, match=message) as error,
    ):
        stack[1]
    assert error.value.channels == 3


@pytest.mark.parametrize('name', ['a.tif', 'a.png', 'a.bmp'])
def test_they_stay_and_the_rest_changes(tmp_path, name):
    image = annotated()
    Image.fromarray(image).save(tmp_path / name)
    with pytest.raises(ColourImageError, match='a colour image.*channel=0') as error:
        read_sem(tmp_path / name)
    assert error.value.channels == 3
    read = read_sem(tmp_path / name, annotations='keep')
    marked = np.ptp(image, axis=2) > 0
    np.testing.assert_array_equal(read.annotations, marked)
    np.testing.assert_array_equal(read.image[~marked], image[..., 0][~marked])
    # what the restorer sees in their place is like the surroundings
    assert read.image[marked].min() >= 64 and read.image[marked].max() <= 127
    write_sem(tmp_path / f'b{name}', np.full(read.image.shape, 200 / 255), read)
    written = np.asarray(Image.open(tmp_path / f'b{name}'))
    np.testing.assert_array_equal(written[marked], image[marked])
    assert (written[~marked] == 200).all()


def test_of_16_bits(tmp_path):
    image = annotated().astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb')
    read = read_sem(tmp_path / 'a.tif', annotations='keep')
    write_sem(tmp_path / 'b.tif', np.zeros(read.image.shape), read)
    written = tifffile.imread(tmp_path / 'b.tif')
    np.testing.assert_array_equal(written[read.annotations], image[read.annotations])
    assert not written[~read.annotations].any()


def test_in_a_palette(tmp_path):
    grey = np.random.default_rng(0).integers(1, 200, (40, 50)).astype(np.uint8)
    grey[30:33, 5:25] = 255  # the one colour of the palette
    palette = Image.fromarray(grey, 'P')
    palette.putpalette([*np.repeat(np.arange(255), 3).tolist(), 255, 0, 0])
    palette.save(tmp_path / 'a.png')
    read = read_sem(tmp_path / 'a.png', annotations='keep')
    assert read.annotations.sum() == 60 and read.annotations[30:33, 5:25].all()
    write_sem(tmp_path / 'b.png', np.full(read.image.shape, 7 / 255), read)
    written = np.asarray(Image.open(tmp_path / 'b.png'))
    assert (written[read.annotations] == 255).all() and (written[~read.annotations] == 7).all()


def test_jpeg_whose_colours_have_bled(tmp_path):
    image = cv2.GaussianBlur(annotated(), (0, 0), 0.7)
    Image.fromarray(image).save(tmp_path / 'a.jpg', quality=85)
    read = read_sem(tmp_path / 'a.jpg', annotations='keep')
    assert read.lossy and 0.02 < read.annotations.mean() < 0.15
    strong = np.ptp(image.astype(int), axis=2) > 100
    assert read.annotations[strong].mean() > 0.99
    grey = np.asarray(Image.open(tmp_path / 'a.jpg').convert('L')).astype(int)
    around = cv2.dilate(strong.astype(np.uint8), np.ones((25, 25))) > 0
    assert np.abs(read.image.astype(int) - grey)[~around].max() <= 12
    # what has bled is no mark: there the restored picture is written
    assert around.sum() > 2 * read.annotations.sum()
    write_sem(tmp_path / 'b.tif', np.full(read.image.shape, 0.4), read)
    written = tifffile.imread(tmp_path / 'b.tif').astype(int)
    assert (written[~read.annotations] == 102).all()
    assert np.ptp(written[strong], axis=1).min() > 40


def test_a_coloured_picture_is_still_refused(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', colours, photometric='rgb')
    with pytest.raises(SEMImageError, match='a colour image'):
        read_sem(tmp_path / 'a.tif', annotations='keep')
    assert read_sem(tmp_path / 'a.tif', annotations='keep', channel=1).annotations is None
    with pytest.raises(ValueError, match="'keep' or 'refuse'"):
        read_sem(tmp_path / 'a.tif', annotations='perhaps')


@pytest.mark.parametrize(
    ('sides', 'shape'),
    [
        (dict(top=1), (59, 80)),
        (dict(bottom=2, left=1), (58, 79)),
        (dict(top=1, bottom=1, left=1, right=3), (58, 76)),
    ],
)
def test_rests_of_a_coloured_frame_are_no_picture(tmp_path, sides, shape):
    image = np.stack([np.random.default_rng(0).integers(1, 255, (60, 80), np.uint8)] * 3, -1)
    whole = image.copy()
    for side, width in sides.items():
        part = dict(
            top=np.s_[:width], bottom=np.s_[-width:], left=np.s_[:, :width], right=np.s_[:, -width:]
        )
        image[part[side]] = (0, 255, 0)
    if 'top' in sides:
        image[0, 40] = 90  # a pixel of the frame is missing
    Image.fromarray(image).save(tmp_path / 'a.png')
    read = read_sem(tmp_path / 'a.png', annotations='keep')
    assert read.image.shape == shape and read.cropped_by == 'detection'
    assert read.annotations is None
    np.testing.assert_array_equal(read.image, whole[read.content][..., 0])


def test_fill():
    ramp = np.tile(np.arange(64, dtype=np.float32), (48, 1))
    marked = np.zeros(ramp.shape, bool)
    marked[10:20, 20:40] = True
    filled = fill(np.where(marked, 1e6, ramp).astype(np.float32), marked)
    assert np.abs(filled - ramp).max() < 6  # half the width of the hole at most
    np.testing.assert_array_equal(filled[~marked], ramp[~marked])
    everything = np.ones(ramp.shape, bool)
    np.testing.assert_array_equal(fill(ramp, everything), ramp)
    only = ~np.pad(np.ones((1, 1), bool), ((0, 47), (0, 63)))
    assert (fill(ramp + 5, only) == 5).all()  # of the one pixel that is known
    assert coloured(ramp[..., None]) == (None, None)
