"""The classes of BDD100K's detection benchmark, in order (https://doc.bdd100k.com/format.html)."""

ROAD_CLASSES = (
    'pedestrian',
    'rider',
    'car',
    'truck',
    'bus',
    'train',
    'motorcycle',
    'bicycle',
    'traffic light',
    'traffic sign',
)
