"""Weights that find something, and pictures to find it in."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from PIL import Image

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.engine.config import load_config

CONFIG = 'configs/lambda_frcnn_murky.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Random weights that find something: only the form of the results is looked at."""
    torch.manual_seed(0)
    cfg = load_config(CONFIG)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='session')
def street():
    """A picture with something to find: dark blocks on a grey street."""
    rng = np.random.default_rng(3)
    noise = cv2.resize(rng.integers(90, 130, (18, 32, 3), dtype=np.uint8), (640, 360))
    for x in range(40, 600, 110):
        cv2.rectangle(noise, (x, 180), (x + 60, 230), (30, 30, 40), -1)
        cv2.rectangle(noise, (x + 8, 185), (x + 52, 200), (150, 140, 130), -1)
        cv2.circle(noise, (x + 5, 215), 5, (20, 20, 230), -1)
        cv2.circle(noise, (x + 55, 215), 5, (20, 20, 230), -1)
    return noise


@pytest.fixture
def scene():
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.resize(noise, (320, 192), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path, scene):
    """Images of every kind, and two that are none."""
    here = tmp_path / 'in'
    here.mkdir()
    rgb = Image.fromarray(scene[..., ::-1])
    rgb.save(here / 'colour.png')
    rgb.convert('L').save(here / 'grey.png')
    rgb.convert('RGBA').save(here / 'alpha.png')
    rgb.convert('P').save(here / 'palette.png')
    rgb.convert('CMYK').save(here / 'cmyk.jpg', quality=95)
    cv2.imwrite(str(here / 'deep.png'), scene.astype(np.uint16) * 257)
    cv2.imwrite(str(here / 'deep.tif'), scene.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.transpose(Image.Transpose.ROTATE_90).save(here / 'turned.webp', exif=exif, lossless=True)
    whole = here / 'whole.jpg'
    rgb.save(whole)
    (here / 'cut.jpg').write_bytes(whole.read_bytes()[:3000])
    (here / 'text.png').write_text('no image')
    (here / '._colour.png').write_bytes(b'macOS')
    (here / 'notes.txt').write_text('passed over')
    return here


@pytest.fixture
def own(checkpoint):
    """Options of a detector that is quickly there."""
    return ['--config', CONFIG, '--checkpoint', checkpoint, '--device', 'cpu']


@pytest.fixture
def video():
    """Writes frames to a file."""

    def write(path, frames, fourcc='MJPG'):
        height, width = frames[0].shape[:2] if frames else (192, 320)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 10, (width, height))
        for frame in frames:
            writer.write(frame)
        writer.release()

    return write
