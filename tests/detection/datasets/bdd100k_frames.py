"""Frames in the layout of BDD100K, for tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def make_label(category, box=(1, 2, 10, 20), label_id='7', **attributes):
    x1, y1, x2, y2 = box
    return {
        'id': label_id,
        'category': category,
        'attributes': {'occluded': True, 'truncated': False, **attributes},
        'box2d': {'x1': x1, 'y1': y1, 'x2': x2, 'y2': y2},
    }


def make_frame(name, *labels):
    attributes = {'weather': 'foggy', 'timeofday': 'dawn/dusk', 'scene': 'city street'}
    return {'name': name, 'attributes': attributes, 'timestamp': 10000, 'labels': list(labels)}


def make_root(root, frames, labels='labels/det_20/det_train.json', size=(WIDTH, HEIGHT)):
    """Writes images and labels in BDD100K's layout; returns the keyword arguments."""
    folder = root / 'images/100k/train'
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    for frame in frames:
        Image.fromarray(noise).save(folder / f'{Path(frame["name"]).stem}.jpg')
    path = root / labels
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(frames))
    return {
        'data_root': str(root),
        'ann_file': labels,
        'data_prefix': {'img': 'images/100k/train'},
    }


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]
