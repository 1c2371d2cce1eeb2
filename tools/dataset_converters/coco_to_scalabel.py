"""Converts COCO detections to Scalabel, for BDD100K's official evaluation.

The detections are a COCO result list, e.g. the ``*.bbox.json`` that BDD100KMetric or
mmdet's CocoMetric writes; the images and category names come from a COCO data set, e.g.
the ``*.gt.json`` beside it or the output of bdd100k_to_coco.py. Every image gets a frame,
those without detections too. Scalabel boxes include their last pixel: x2 = x + width - 1. Where
images of several folders have one name, the folder stands beside it as "videoName".

Example:
    python tools/dataset_converters/coco_to_scalabel.py val.bbox.json val.gt.json val_pred.json
    python -m bdd100k.eval.run -t det -g det_val.json -r val_pred.json
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mmclarity.cli.main import finish
from mmclarity.detection.datasets.coco import (
    category_names,
    check_detection,
    check_images,
    read_coco,
    read_detections,
)
from mmclarity.utils.files import refuse_input
from mmclarity.utils.json_files import write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('detections', help='COCO result list: image_id, category_id, bbox, score')
    parser.add_argument('images', help='COCO data set with "images" and "categories"')
    parser.add_argument('output', help='Scalabel list to write')
    parser.add_argument(
        '--min-score',
        type=float,
        default=0.0,
        help='leave out detections below this score (default: keep all)',
    )
    return parser.parse_args(argv)


def to_scalabel(
    detections: Sequence[dict],
    images: Sequence[dict],
    categories: Sequence[dict],
    min_score: float = 0.0,
    source: str = 'detections',
    told_by: str = 'images',
) -> list[dict[str, Any]]:
    """Builds the list of Scalabel frames.

    Args:
        detections: COCO results; ``bbox`` is x, y, width, height in pixels.
        images: COCO images.
        categories: COCO categories.
        min_score: Leave out detections below.
        source: Name of the detections, for messages.
        told_by: Name of the data set that has the images and categories.

    Returns:
        One frame for each image, labels ordered by falling score.

    Raises:
        LabelFileError: If a detection lacks a field, names an unknown image or
            category, or has a box that is no box; or if images or categories cannot
            be told apart.
    """
    names = category_names(told_by, categories)
    check_images(told_by, images)
    counts = Counter(PurePosixPath(item['file_name']).name for item in images)
    frames = {item['id']: _frame(item, counts) for item in images}
    for index, item in enumerate(detections):
        place = f'{source}: detection {index}'
        check_detection(item, place, frames, names)
        if item['score'] < min_score:
            continue
        x, y, width, height = item['bbox']
        frames[item['image_id']]['labels'].append(
            {
                'id': str(index),
                'category': names[item['category_id']],
                'score': item['score'],
                'box2d': {'x1': x, 'y1': y, 'x2': x + width - 1, 'y2': y + height - 1},
            }
        )
    for frame in frames.values():
        frame['labels'].sort(key=lambda label: -label['score'])
    return list(frames.values())


def _frame(image: dict, counts: Mapping[str, int]) -> dict[str, Any]:
    """A frame without labels; the evaluation compares file names only, if they are unique."""
    path = PurePosixPath(image['file_name'])
    frame: dict[str, Any] = {'name': path.name, 'labels': []}
    if counts[path.name] > 1:
        frame['videoName'] = str(path.parent)
    if image.get('attributes'):
        frame['attributes'] = image['attributes']
    return frame


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(_main, parse_args(argv), 'coco_to_scalabel.py')


def _main(args: argparse.Namespace) -> None:
    refuse_input(args.output, args.detections, args.images)
    coco = read_coco(args.images)
    detections = read_detections(args.detections)
    frames = to_scalabel(
        detections,
        coco['images'],
        coco['categories'],
        args.min_score,
        args.detections,
        args.images,
    )
    write_json(args.output, frames)
    print(
        f'{args.output}: {len(frames)} frames, '
        f'{sum(len(frame["labels"]) for frame in frames)} detections'
    )


if __name__ == '__main__':
    sys.exit(main())
