"""What macOS and Windows put into folders is passed over, wherever a folder is read."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmclarity.detection.datasets.image_files import probe_image
from mmclarity.detection.datasets.scalabel import load_frames
from mmclarity.restoration.io.micrograph import list_images
from mmclarity.rsa.data.stimuli import StimulusSet

CLUTTER = ('._a', '.DS_Store', 'Thumbs.db', 'desktop.ini')


def litter(folder, suffix):
    for name in CLUTTER:
        (folder / name).write_bytes(b'\0\5\x16\7')
    (folder / f'._a{suffix}').write_bytes(b'\0\5\x16\7')
    (folder / '__MACOSX').mkdir()


def test_labels(tmp_path):
    frame = dict(name='a.jpg', labels=[])
    (tmp_path / 'a.json').write_text(json.dumps([frame]))
    litter(tmp_path, '.json')
    assert len(load_frames(tmp_path)[0]) == 1


def test_micrographs_and_stimuli(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.full((8, 8), 9, np.uint8))
    litter(tmp_path, '.tif')
    assert list_images(tmp_path) == [tmp_path / 'a.tif']
    assert StimulusSet.from_folder(tmp_path).ids == ['a']


def test_a_limit_is_called_a_limit(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    _, why = probe_image(str(tmp_path / 'a.png'))
    assert 'megapixels' in why and 'damaged' not in why
    with pytest.raises(ValueError, match=r"a\.png: stimulus 'a'.*2400 pixels are more than"):
        StimulusSet.from_folder(tmp_path).image(0)


@pytest.mark.parametrize(
    ('value', 'words'), [(1e30, r'farther than 1e\+09 pixels'), (float('nan'), 'not a finite')]
)
def test_far_and_undefined_coordinates(tmp_path, value, words):
    label = dict(id=1, category='car', box2d=dict(x1=0, y1=0, x2=value, y2=5))
    (tmp_path / 'a.json').write_text(json.dumps([dict(name='a.jpg', labels=[label])]))
    with pytest.raises(ValueError, match=words):
        load_frames(tmp_path / 'a.json')
