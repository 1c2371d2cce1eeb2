import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmclarity.rsa import StimulusSet
from mmclarity.rsa.data import stimuli as stimuli_module


def save(path, value, mode='RGB', size=(6, 4)):
    bands = len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, size, value if bands == 1 else (value,) * bands).save(path)


@pytest.fixture
def folder(tmp_path):
    for name, value in (('b', 51), ('a', 102), ('c', 204)):
        save(tmp_path / f'{name}.png', value)
    (tmp_path / 'notes.txt').write_text('not an image')
    return tmp_path


def test_images_in_the_order_of_their_names(folder):
    stimuli = StimulusSet.from_folder(folder)
    assert stimuli.ids == ['a', 'b', 'c'] and len(stimuli) == 3
    (ids, first), (rest, second) = stimuli.batches(2)
    assert ids == ['a', 'b'] and rest == ['c']
    assert first.shape == (2, 3, 4, 6) and first.dtype == torch.float32
    assert first[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.2]) and second.mean() == 0.8


def test_normalisation_is_by_channel(folder):
    image = StimulusSet.from_folder(folder, mean=(0, 0.1, 0.2), std=(1, 2, 4)).image(0)
    assert image[:, 0, 0].tolist() == pytest.approx([0.4, 0.15, 0.05])


@pytest.mark.parametrize(
    'name,content',
    [
        ('m.csv', 'id,file\nfirst,c.png\nsecond,a.png\n'),
        ('m.json', json.dumps(dict(first='c.png', second='a.png'))),
        ('m.json', json.dumps([['first', 'c.png'], ['second', 'a.png']])),
    ],
)
def test_manifest_gives_ids_and_order(folder, name, content):
    (folder / name).write_text(content)
    stimuli = StimulusSet.from_folder(folder, manifest=folder / name)
    assert stimuli.ids == ['first', 'second'] and stimuli.paths[0].name == 'c.png'


def test_text_manifest_takes_stems_as_ids(folder):
    (folder / 'm.txt').write_text('c.png\n\na.png\n')
    assert StimulusSet.from_folder(folder, manifest=folder / 'm.txt').ids == ['c', 'a']


def test_size_scales_the_shorter_side_and_takes_the_centre(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 255  # the central square
    Image.fromarray(picture).save(tmp_path / 'wide.png')
    Image.fromarray(picture.transpose(1, 0, 2)).save(tmp_path / 'tall.png')
    ((_, images),) = StimulusSet.from_folder(tmp_path, size=20).batches()
    assert images.shape == (2, 3, 20, 20) and images[:, :, 2:-2, 2:-2].min() > 0.99


@pytest.mark.parametrize(
    'mode,value,expected', [('L', 51, 0.2), ('I;16', 13107, 0.2), ('P', 3, None), ('1', 1, 1.0)]
)
def test_grey_and_palette_images(tmp_path, mode, value, expected):
    save(tmp_path / 'x.png', value, mode)
    image = StimulusSet.from_folder(tmp_path).image(0)
    assert image.shape == (3, 4, 6)
    if expected is not None:
        assert image.mean() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize('low,high', [(0, 255), (-1, 1), (0, np.nan)])
def test_levels_that_are_none_of_a_picture_are_refused(tmp_path, low, high):
    """Clipped they would be white, and the RDM one of white pictures."""
    values = np.full((4, 4), low, np.float32)
    values[0] = high
    Image.fromarray(values).save(tmp_path / 'x.tif')
    with pytest.raises(ValueError, match=r"stimulus 'x' .*must lie in \[0, 1\]"):
        StimulusSet.from_folder(tmp_path).image(0)


def test_a_little_beyond_white_is_white(tmp_path):
    Image.fromarray(np.array([[-0.04, 1.05]], np.float32)).save(tmp_path / 'x.tif')
    image = StimulusSet.from_folder(tmp_path).image(0)
    assert image.min() == 0 and image.max() == 1


@pytest.mark.parametrize('brightest', [4095, 60000])
def test_pictures_of_16_bit_that_are_all_dark_are_named(tmp_path, recwarn, brightest):
    """One dark picture beside others is meant."""
    for name, level in (('a', 90), ('b', brightest)):
        Image.fromarray(np.full((4, 4), level, np.uint16)).save(tmp_path / f'{name}.png')
    list(StimulusSet.from_folder(tmp_path).batches(1))
    said = [str(w.message) for w in recwarn if '16 bit' in str(w.message)]
    assert bool(said) == (brightest == 4095)
    assert not said or 'brighter than 4095 of 65535' in said[0]


def test_transparent_pixels_show_the_background(tmp_path):
    Image.new('RGBA', (4, 4), (255, 0, 0, 0)).save(tmp_path / 'x.png')
    assert StimulusSet.from_folder(tmp_path).image(0).mean() == pytest.approx(0.5, abs=2e-3)


def test_photographs_are_shown_upright(tmp_path):
    picture = Image.new('RGB', (6, 4))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees clockwise: top left comes to the top right
    picture.save(tmp_path / 'x.png', exif=exif)
    image = StimulusSet.from_folder(tmp_path).image(0)
    assert image.shape == (3, 6, 4) and image[0, 0, 3] == 1 and image.sum() == 3


def test_each_stimulus_has_an_id_and_a_file():
    for ids, paths in ((['a', 'a'], ['x.png', 'y.png']), (['a'], ['x.png', 'y.png'])):
        with pytest.raises(ValueError, match='an id of its own'):
            StimulusSet(ids, paths)


def test_an_enormous_image_is_named(folder, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 4)
    with pytest.raises(ValueError, match="a.png: stimulus 'a' cannot be read"):
        StimulusSet.from_folder(folder).image(0)


def test_files_at_fault_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        StimulusSet.from_folder(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty: no image is there'):
        StimulusSet.from_folder(tmp_path / 'empty')
    (folder / 'b.png').write_bytes((folder / 'b.png').read_bytes()[:40])
    with pytest.raises(ValueError, match="b.png: stimulus 'b' cannot be read"):
        StimulusSet.from_folder(folder).image(1)
    save(folder / 'b.png', 5, size=(9, 9))
    with pytest.raises(ValueError, match='b.png is 9 x 9 pixels.*a.png.*6 x 4.*size='):
        list(StimulusSet.from_folder(folder).batches())


@pytest.mark.parametrize(
    'name,content,match',
    [
        ('m.csv', 'name,path\na,a.png\n', 'columns id and file'),
        ('m.csv', 'id,file\na,\n', 'line 2'),
        ('m.csv', 'id,file\nx,a.png\nx,b.png\n', "'x' comes twice"),
        ('m.json', '{"a": ', 'no JSON'),
        ('m.json', '{"a": 3}', 'entry 0'),
        ('m.json', '3', 'object of files'),
        ('m.json', '{"x": "a.png", "y": "b.png", "x": "c.png"}', "'x' comes twice"),
    ],
)
def test_bad_manifests(folder, name, content, match):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=match):
        StimulusSet.from_folder(folder, manifest=folder / name)


def test_missing_manifest_or_image(folder):
    with pytest.raises(FileNotFoundError, match='manifest'):
        StimulusSet.from_folder(folder, manifest=folder / 'm.csv')
    (folder / 'm.txt').write_text('z.png')
    with pytest.raises(FileNotFoundError, match="z.png.*'z'"):
        StimulusSet.from_folder(folder, manifest=folder / 'm.txt')


BAD_OPTIONS = (
    dict(size=0),
    dict(size='64'),
    dict(size=(64, 64)),
    dict(mean=(0, 0)),
    dict(std=(1, 1, 0)),
)


@pytest.mark.parametrize('kwargs', BAD_OPTIONS)
def test_bad_options(folder, kwargs):
    with pytest.raises(ValueError):
        StimulusSet.from_folder(folder, **kwargs)


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'tif'])
def test_pictures_are_shown_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    stored = np.zeros((4, 8, 3), np.uint8)
    stored[:, :4] = 255  # the left half becomes the upper one
    Image.fromarray(stored).save(tmp_path / f'a.{kind}', exif=exif)
    picture = np.asarray(StimulusSet.from_folder(tmp_path).picture(0))
    assert picture.shape == (8, 4, 3)
    assert picture[:2].min() > 200 > 50 > picture[-2:].max()


def test_pictures_are_kept_in_one_block(tmp_path, monkeypatch):
    """As they were read, whatever the order; those for which there is no room are read again."""
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
    monkeypatch.setattr(stimuli_module, 'KEPT', 4 * 3 * 16 * 16)
    stimuli = StimulusSet.from_folder(tmp_path, size=16)
    alone = [stimuli.subset([name]).image(0) for name in stimuli.ids]
    late = stimuli.image(4)  # before there is a block
    for _ in range(2):
        ((_, images),) = list(stimuli.batches(8))
        assert torch.equal(images, torch.stack(alone))
    assert torch.equal(late, alone[4]) and len(stimuli._block) == 4
    part = stimuli.subset(['3', '1'])
    ((_, images),) = list(part.batches(8))
    assert torch.equal(images, torch.stack([alone[3], alone[1]]))
