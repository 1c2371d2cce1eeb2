"""Files of detections and ground truth that an evaluation leaves, in COCO's form."""

from collections.abc import Sequence

from mmclarity.utils.json_files import write_json

__all__ = ['write_coco']


def write_coco(
    prefix: str,
    results: list[dict],
    dts: list[dict],
    gts: list[dict],
    ids: Sequence[int],
    classes: Sequence[str],
) -> None:
    """Writes ``{prefix}.bbox.json`` and ``{prefix}.gt.json``.

    Args:
        prefix: folder and beginning of the names.
        results: what the metric kept of each image.
        dts: detections; ``image_id`` is the place in ``results``, ``category_id`` in ``classes``.
        gts: ground truth, likewise.
        ids: of the classes, in the files.
        classes: their names.
    """
    image_ids = [result['img_id'] for result in results]
    if len(set(image_ids)) < len(image_ids):  # several data sets, each counting from 1
        image_ids = list(range(1, len(results) + 1))
    images = [
        {
            'id': image_id,
            'file_name': result['img_path'],
            'width': result['width'],
            'height': result['height'],
            'attributes': result['groups'],
        }
        for image_id, result in zip(image_ids, results, strict=True)
    ]

    def rewrite(item: dict) -> dict:
        return {
            **item,
            'image_id': image_ids[item['image_id']],
            'category_id': ids[item['category_id']],
        }

    annotations = [
        {**rewrite(item), 'id': number, 'area': item['bbox'][2] * item['bbox'][3]}
        for number, item in enumerate(gts, 1)
    ]
    write_json(f'{prefix}.bbox.json', [rewrite(item) for item in dts])
    write_json(
        f'{prefix}.gt.json',
        {
            'info': {},  # pycocotools wants it
            'images': images,
            'annotations': annotations,
            'categories': [
                {'id': number, 'name': name}
                for number, name in sorted(zip(ids, classes, strict=True))
            ],
        },
    )
