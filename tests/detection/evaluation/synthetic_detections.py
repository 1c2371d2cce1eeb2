"""Objects and detections for the tests of this folder."""

import numpy as np

#: Names by id.
CLASSES = {1: 'car', 2: 'bus', 3: 'pedestrian'}
WEATHER = ('clear', 'rainy')
TIMES = ('daytime', 'night')


def objects(rng, images, most=6, crowds=0.1, classes=tuple(CLASSES)):
    """Objects of all sizes; some images have none."""
    gts = []
    for image in range(images):
        for _ in range(rng.integers(0, most + 1)):
            width, height = np.exp(rng.uniform(2, 5.3, 2))
            x, y = rng.uniform(0, 400, 2)
            gts.append(
                dict(
                    image_id=image,
                    category_id=int(rng.choice(classes)),
                    bbox=[float(v) for v in (x, y, width, height)],
                    iscrowd=int(rng.random() < crowds),
                )
            )
    return gts


def detections(rng, gts, images, noise=0.08, named=0.8, digits=None, classes=tuple(CLASSES)):
    """Found, found twice, misnamed, misplaced and imagined; ``digits`` of scores make ties."""
    dts = []

    def add(image, category, box):
        score = float(rng.random())
        score = score if digits is None else round(score, digits)
        dts.append(
            dict(
                image_id=image,
                category_id=int(category),
                bbox=[float(v) for v in box],
                score=score,
            )
        )

    for gt in gts:
        for _ in range(rng.integers(0, 3)):
            side = np.tile(gt['bbox'][2:], 2)
            box = np.array(gt['bbox']) + rng.normal(0, noise, 4) * side
            box[2:] = np.maximum(box[2:], 1)
            add(
                gt['image_id'],
                gt['category_id'] if rng.random() < named else rng.choice(classes),
                box,
            )
    for image in range(images):
        for _ in range(rng.integers(0, 4)):
            add(image, rng.choice(classes), [*rng.uniform(0, 400, 2), *rng.uniform(10, 90, 2)])
    order = rng.permutation(len(dts))
    return [dts[place] for place in order]


def coco(gts, images):
    """A COCO data set with 100 as the first image's id; weather and time of day vary."""
    return dict(
        images=[
            dict(
                id=100 + place,
                file_name=f'folder/{place:03d}.jpg',
                width=640,
                height=360,
                attributes=dict(
                    weather=WEATHER[place % 2], timeofday=TIMES[place // 2 % 2], scene='highway'
                ),
            )
            for place in range(images)
        ],
        categories=[dict(id=number, name=name) for number, name in CLASSES.items()],
        annotations=[gt | dict(image_id=gt['image_id'] + 100) for gt in gts],
    )


def results(dts):
    """A COCO result list for :func:`coco`."""
    return [dt | dict(image_id=dt['image_id'] + 100) for dt in dts]
