"""Small label files in BDD100K's form."""

import numpy as np

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.utils.json_files import write_json


def make_label(category, box, label_id='1', **attributes):
    x1, y1, x2, y2 = box
    return {
        'id': label_id,
        'category': category,
        'attributes': attributes,
        'box2d': {'x1': x1, 'y1': y1, 'x2': x2, 'y2': y2},
    }


def make_labels(path, frames):
    write_json(path, frames)
    return str(path)


def random_frames(seed, images=10):
    """Frames with every class, old names, ignored categories, crowds and negatives."""
    rng = np.random.default_rng(seed)
    names = [*CLASSES, 'person', 'bike', 'motor', 'van', 'caravan', 'other person', 'trailer']
    frames = []
    for index in range(images):
        labels = []
        for number in range(int(rng.integers(0, 12))):
            x1, y1 = rng.uniform(0, 900), rng.uniform(0, 500)
            width, height = np.exp(rng.uniform(1, 5.3, 2))
            box = [float(v) for v in (x1, y1, x1 + width, y1 + height)]
            crowd = bool(rng.random() < 0.1)
            labels.append(make_label(str(rng.choice(names)), box, f'{index}-{number}', crowd=crowd))
        frame = {'name': f'{index:03d}.jpg', 'labels': labels}
        frame['attributes'] = {'weather': 'foggy', 'timeofday': 'night', 'scene': 'highway'}
        if index == 1:
            frame['labels'] = None
        frames.append(frame)
    return frames
