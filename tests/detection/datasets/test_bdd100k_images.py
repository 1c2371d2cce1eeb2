"""BDD100KDataset: what it makes of images that are damaged, turned, or of another size."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image, ImageOps

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.image_files import ImageFileError, probe_image
from mmclarity.errors import DataError
from mmclarity.utils.json_files import LabelFileError
from tests.detection.datasets.bdd100k_frames import HEIGHT, WIDTH, make_frame, make_label, make_root


def test_bad_images_are_all_named_before_training(tmp_path):
    frames = [make_frame(f'{number:02d}.jpg', make_label('car')) for number in range(14)]
    args = make_root(tmp_path, frames)
    folder = tmp_path / 'images/100k/train'
    (folder / '00.jpg').unlink()
    (folder / '01.jpg').write_bytes(b'')
    whole = (folder / '02.jpg').read_bytes()
    (folder / '02.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / '03.jpg').write_text('<html>404</html>')
    with pytest.raises(ImageFileError) as error:
        BDD100KDataset(**args)
    text = str(error.value)
    assert '4 of 14 images' in text
    for part in (
        '00.jpg: missing',
        '01.jpg: empty file',
        '02.jpg: cut off',
        '03.jpg: not an image',
    ):
        assert part in text
    for number in range(4, 13):
        (folder / f'{number:02d}.jpg').unlink()
    with pytest.raises(ImageFileError, match='and 3 more') as error:
        BDD100KDataset(**args)
    assert '09.jpg' in str(error.value) and '10.jpg' not in str(error.value)
    # without the check and with known sizes no image is looked at
    assert len(BDD100KDataset(**args, check_images=False, image_size=(WIDTH, HEIGHT))) == 14


def test_whole_images_with_padding_and_other_formats_pass(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for suffix in ('jpg', 'png', 'bmp'):
        image.save(tmp_path / f'a.{suffix}')
        assert probe_image(str(tmp_path / f'a.{suffix}')) == ((30, 20), None)
    padded = tmp_path / 'padded.jpg'
    padded.write_bytes((tmp_path / 'a.jpg').read_bytes() + bytes(100))
    assert probe_image(str(padded)) == ((30, 20), None)
    reserved = tmp_path / 'reserved.jpg'  # a download that stopped in the space it had reserved
    for suffix, share in (('jpg', 0.9), ('jpg', 0.5), ('png', 0.7)):
        content = (tmp_path / f'a.{suffix}').read_bytes()
        begun = content[: int(share * len(content))]
        reserved.write_bytes(begun + bytes(len(content) - len(begun)))
        assert probe_image(str(reserved))[0] is None
    (tmp_path / 'folder.jpg').mkdir()
    assert probe_image(str(tmp_path / 'folder.jpg')) == (None, 'a folder')
    cut = tmp_path / 'cut.png'
    cut.write_bytes((tmp_path / 'a.png').read_bytes()[:-200])
    assert 'cut off' in probe_image(str(cut))[1]


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('tag', range(1, 9))
def test_an_image_with_an_orientation_tag_fits_its_boxes(tmp_path, kind, tag):
    """Size and pixels as a viewer shows them, and boxes at its right edge are kept whole."""
    frame = make_frame(f'a.{kind.lower()}', make_label('car', (1, 1, 39, 57)))
    args = make_root(tmp_path, [frame])
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30] = 250, 10, 10
    stored[20:, 30:] = 10, 10, 250
    exif = Image.Exif()
    exif[0x0112] = tag
    path = str(tmp_path / 'images/100k/train' / frame['name'])
    Image.fromarray(stored).save(path, kind, exif=exif)
    with Image.open(path) as file:
        shown = np.asarray(ImageOps.exif_transpose(file).convert('RGB')).astype(int)
    pipeline = [
        {'type': 'mmdet.LoadImageFromFile'},
        {'type': 'mmdet.LoadAnnotations', 'with_bbox': True},
    ]
    dataset = BDD100KDataset(**args, pipeline=pipeline)
    info, sample = dataset.get_data_info(0), dataset[0]
    assert (info['height'], info['width']) == shown.shape[:2] == sample['img_shape']
    assert shown.shape[:2] == ((60, 40) if tag >= 5 else (40, 60))
    assert np.abs(sample['img'][..., ::-1] - shown).mean() < 4  # JPEG and WebP lose a little
    box = info['instances'][0]['bbox']
    assert box == ([1, 1, 40, 58] if tag >= 5 else [1, 1, 40, 40])


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_bytes(b'no image at all')
    load = TRANSFORMS.build({'type': 'LoadUprightImage'})
    with pytest.raises(DataError, match='a.jpg: cannot be decoded'):
        load({'img_path': str(path)})
    lenient = TRANSFORMS.build({'type': 'LoadUprightImage', 'ignore_empty': True})
    assert lenient({'img_path': str(path)}) is None


def test_a_limit_is_named_as_a_limit(tmp_path, monkeypatch):
    path = tmp_path / 'large.png'
    Image.new('L', (100, 100)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 4000)
    size, why = probe_image(str(path))
    assert size is None and 'megapixels' in why and 'damaged' not in why


def test_size_that_contradicts_the_image(tmp_path):
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car'))])
    with pytest.raises(LabelFileError, match=r'is 64x48 pixels, but image_size says 1280x720'):
        BDD100KDataset(**args, image_size=(1280, 720))
    frame = {**make_frame('a.jpg'), 'size': {'width': 32, 'height': 48}}
    with pytest.raises(LabelFileError, match=r'the labels say 32x48'):
        BDD100KDataset(**make_root(tmp_path, [frame]))
    with pytest.raises(ValueError, match='width, height'):
        BDD100KDataset(**args, image_size=(0, 720))


def test_pipeline_carries_everything_to_the_sample(tmp_path):
    frames = [make_frame('a.jpg', make_label('car'), make_label('trailer', degraded=True))]
    keys = ('img_id', 'ori_shape', 'instances', 'weather', 'timeofday', 'scene')
    pipeline = [
        {'type': 'mmdet.LoadImageFromFile'},
        {'type': 'mmdet.LoadAnnotations', 'with_bbox': True},
        {'type': 'mmdet.Resize', 'scale': (32, 24), 'keep_ratio': True},
        {'type': 'mmdet.PackDetInputs', 'meta_keys': keys},
    ]
    sample = BDD100KDataset(**make_root(tmp_path, frames), pipeline=pipeline)[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [2]
    assert sample.ignored_instances.labels.tolist() == [3]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[0.5, 1.0, 5.5, 10.5]]
    assert sample.weather == 'foggy'
    assert sample.instances[1]['attributes']['degraded'] is True
    assert sample.instances[0]['bbox'] == [1, 2, 11, 21]  # still of the original image
