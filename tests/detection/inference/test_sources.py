"""What is read: images of every kind, videos and cameras, and those that are none."""

import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.detection.inference.sources import pictures, read_image
from mmclarity.errors import DataError, UsageError


def test_images_of_every_kind_look_as_they_are(folder, scene):
    for name in ('colour.png', 'alpha.png', 'deep.png', 'deep.tif', 'turned.webp'):
        assert np.array_equal(read_image(folder / name), scene), name
    grey = read_image(folder / 'grey.png')
    assert grey.shape == scene.shape and (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(read_image(folder / 'cmyk.jpg').astype(int) - scene).mean() < 8
    for name, why in (('cut.jpg', 'truncated'), ('text.png', 'cannot be read')):
        with pytest.raises(DataError, match=f'{name}: .*{why}'):
            read_image(folder / name)


def test_videos_of_odd_size_and_those_that_are_dropped(tmp_path):
    pytest.importorskip('av')
    from mmclarity.detection.inference.video import DrawnVideo

    frame = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    frame = cv2.resize(frame, (101, 75), interpolation=cv2.INTER_CUBIC)
    video = DrawnVideo(tmp_path / 'a.mp4', 0, overwrite=False)
    for _ in range(3):
        video.append(frame)
    assert not (tmp_path / 'a.mp4').exists()  # it gets its name when it is whole
    video.close()
    capture = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    there, shown = capture.read()
    assert there and shown.shape == (76, 102, 3)
    assert np.abs(shown[:75, :101].astype(int) - frame).mean() < 12
    with pytest.raises(FileExistsError):
        DrawnVideo(tmp_path / 'a.mp4', 5, overwrite=False)
    other = DrawnVideo(tmp_path / 'b.mp4', 5, overwrite=False)
    other.append(frame)
    other.drop()
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']


@pytest.mark.parametrize(
    ('source', 'why'), [('nowhere.jpg', 'no such image'), ('*.nothing', 'no such image')]
)
def test_sources_that_are_not_there(source, why):
    with pytest.raises(UsageError, match=why):
        pictures(source)


def test_empty_folders_and_broken_videos(tmp_path):
    (tmp_path / 'outer/inner').mkdir(parents=True)
    with pytest.raises(UsageError, match=r"subfolders .*'\S*outer/\*\*/\*\.jpg'"):
        pictures(str(tmp_path / 'outer'))
    with pytest.raises(UsageError, match='no image in this folder'):
        pictures(str(tmp_path))
    (tmp_path / 'a.mp4').write_bytes(b'no video')
    with pytest.raises(DataError, match='cannot be read as a video'):
        pictures(str(tmp_path / 'a.mp4'))


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
@pytest.mark.parametrize('tag', [2, 3, 6, 8])
def test_photographs_are_turned_as_their_tag_says(suffix, tag, tmp_path, scene):
    """A blue and a green corner: where they lie is told after being shown by Pillow."""
    pixels = np.full((24, 40, 3), 128, np.uint8)
    pixels[:8, :8], pixels[:8, -8:] = (250, 0, 0), (0, 250, 0)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(tmp_path / f'a.{suffix}', exif=exif)
    turned = {2: pixels[:, ::-1], 3: pixels[::-1, ::-1]}
    turned |= {6: np.rot90(pixels, -1), 8: np.rot90(pixels, 1)}
    found = read_image(tmp_path / f'a.{suffix}')[..., ::-1]
    assert found.shape == turned[tag].shape
    assert np.abs(found.astype(int) - turned[tag]).mean() < 8


@pytest.mark.parametrize('kind', ['1', 'L', 'LA', 'P', 'RGBA', 'I;16', 'CMYK', '16 bit RGBA'])
def test_kinds_of_pixels(kind, tmp_path):
    """A ramp stays a ramp, in three channels of 8 bit."""
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
    path = tmp_path / ('a.jpg' if kind == 'CMYK' else 'a.png')
    if kind == 'I;16':
        cv2.imwrite(str(path), ramp.astype(np.uint16) * 257)
    elif kind == '16 bit RGBA':
        deep = np.dstack([ramp] * 3 + [np.full_like(ramp, 255)]).astype(np.uint16) * 257
        cv2.imwrite(str(path), deep)
    else:
        Image.fromarray(ramp).convert('RGB').convert(kind).save(path)
    found = read_image(path)
    assert found.shape == (16, 64, 3) and found.dtype == np.uint8
    if kind in ('1', 'P'):  # the ramp is dithered when it is written
        expected = np.asarray(Image.open(path).convert('RGB')).mean(2)
        assert np.abs(found.mean(2) - expected).max() == 0
    else:
        assert np.abs(found.mean(2) - ramp).mean() < 4
    assert found[:, -8:].mean() > 200 > 50 > found[:, :8].mean()


def test_a_limit_of_pixels_is_named_as_a_limit(tmp_path, monkeypatch):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match='a.png: too large: 3072 pixels are more than the limit'):
        read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['jp2', 'avif', 'heic'])
def test_kinds_that_telephones_write(suffix, tmp_path, scene):
    path = tmp_path / f'a.{suffix}'
    if suffix == 'heic':
        pytest.importorskip(
            'pillow_heif', reason='writing HEIC takes pillow-heif'
        ).register_heif_opener()
    elif f'.{suffix}' not in Image.registered_extensions():
        pytest.skip(f'this Pillow does not write {suffix}')
    Image.fromarray(scene[..., ::-1]).save(path, quality=95)
    source, count = pictures(str(tmp_path))
    (found,) = source
    assert count == 1 and np.abs(found.pixels.astype(int) - scene).mean() < 8


def test_heic_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    (tmp_path / 'a.HEIC').write_bytes(b'something')
    with pytest.raises(DataError, match='a.HEIC: .*pip install pillow-heif'):
        read_image(tmp_path / 'a.HEIC')


def test_libraries_say_nothing_of_broken_files_and_missing_cameras(tmp_path, capfd):
    """What cannot be read is said once, in a message of ours: OpenCV's layers write their own."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    Image.new('L', (64, 48), 90).save(tmp_path / 'a.png', icc_profile=profile)
    assert read_image(tmp_path / 'a.png').shape == (48, 64, 3)
    (tmp_path / 'cut.mp4').write_bytes(b'\0\0\0\x20ftypisom' + bytes(200))
    with pytest.raises(DataError, match='cannot be read as a video'):
        pictures(str(tmp_path / 'cut.mp4'))
    with pytest.raises(UsageError, match='97: no such camera'):
        list(pictures('97')[0])
    said = capfd.readouterr()
    assert said.out + said.err == ''


def test_names_that_are_alike_are_told_apart_by_folders(scene, tmp_path, monkeypatch):
    for folder in ('in/a', 'in/b', 'work'):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ('a', 'b'):
        cv2.imwrite(str(tmp_path / f'in/{folder}/1.png'), scene)
    monkeypatch.chdir(tmp_path / 'work')
    for pattern in ('../in/**/*.png', f'{tmp_path}/work/../in/*/*.png'):
        assert [picture.name for picture in pictures(pattern)[0]] == ['a/1.png', 'b/1.png']


def test_videos_beside_images_are_named(video, scene, tmp_path):
    video(tmp_path / 'drive.avi', [scene])
    with pytest.raises(UsageError, match=r'videos are read one by one: \S*drive.avi'):
        pictures(str(tmp_path))
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    with pytest.warns(UserWarning, match='left out here: drive.avi'):
        assert pictures(str(tmp_path))[1] == 1
    with pytest.warns(UserWarning, match='left out here: drive.avi'):
        assert pictures(str(tmp_path / '*'))[1] == 1
    with pytest.raises(UsageError, match=r'among the 1 that .* one by one: \S*drive.avi'):
        pictures(str(tmp_path / '*.avi'))


def test_of_several_pictures_in_a_file_the_first_is_taken_and_said(scene, tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.stack([scene[..., ::-1]] * 3), photometric='rgb')
    with pytest.warns(UserWarning, match='a.tif: holds 3 pictures, of which the first is taken'):
        assert np.array_equal(read_image(tmp_path / 'a.tif'), scene)
