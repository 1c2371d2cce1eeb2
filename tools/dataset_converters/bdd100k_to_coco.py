"""Converts BDD100K labels, in any of their layouts, to COCO JSON with all attributes.

Boxes are those of the official converter, not clipped, unless ``--clip`` is given.
Training with BDD100KDataset needs no conversion; this is for other programs.

Example:
    python tools/dataset_converters/bdd100k_to_coco.py \\
        data/bdd100k/labels/det_20/det_val.json det_val_coco.json --image-size 1280 720
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmclarity.cli.main import finish
from mmclarity.detection.datasets.image_files import probe_images
from mmclarity.detection.datasets.scalabel import CLASSES, Frame, ParseReport, fit_box, load_frames
from mmclarity.utils.files import refuse_input
from mmclarity.utils.json_files import LabelFileError, write_json
from mmclarity.utils.label_scale import seems_smaller


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('labels', help='label file, or folder of label files')
    parser.add_argument('output', help='COCO JSON to write')
    parser.add_argument('--images', help='image folder: take sizes from the files, and check them')
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='size of every image in pixels (BDD100K: 1280 720)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        choices=CLASSES,
        metavar='NAME',
        default=CLASSES,
        help='keep these classes only; ids stay the official ones',
    )
    parser.add_argument('--clip', action='store_true', help='clip boxes to their image')
    args = parser.parse_args(argv)
    if args.image_size and min(args.image_size) < 1:
        parser.error('--image-size: width and height must be 1 or more pixels')
    return args


def image_sizes(
    frames: Sequence[Frame], folder: str | None, size: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Finds ``(width, height)`` in pixels of every image.

    Args:
        frames: The frames.
        folder: Image folder; labels that tell another size than its files are refused.
        size: One size for all frames that do not tell their own.

    Raises:
        LabelFileError: If a size is known from nowhere, or labels and files tell two.
        ImageFileError: If an image in ``folder`` is missing or damaged.
    """
    if folder is not None:
        flat = [Path(folder) / frame.name for frame in frames]
        found = probe_images(
            [
                str(path if path.exists() else Path(folder) / frame.relative_path)
                for path, frame in zip(flat, frames, strict=True)
            ]
        )
        for frame, there in zip(frames, found, strict=True):
            if frame.size not in (None, there):
                raise LabelFileError(
                    f'{frame.place}: the image has {there[0]} x {there[1]} pixels, but the labels '
                    f'say {frame.size[0]} x {frame.size[1]}: give the images that were labelled, '
                    'or leave --images out'
                )
        return found
    sizes = [frame.size or (tuple(size) if size else None) for frame in frames]
    for frame, found in zip(frames, sizes, strict=True):
        if found is None:
            raise LabelFileError(
                f'{frame.place}: the labels do not tell the size of the image; give '
                '--images FOLDER, or --image-size 1280 720 for BDD100K itself'
            )
    return sizes


def to_coco(
    frames: Sequence[Frame],
    sizes: Sequence[tuple[int, int]],
    report: ParseReport,
    classes: Sequence[str] = CLASSES,
    clip: bool = False,
) -> dict[str, Any]:
    """Builds the COCO data set.

    Args:
        frames: The frames.
        sizes: ``(width, height)`` of each in pixels.
        report: Counts boxes outside of their image, which are left out.
        classes: Classes to keep.
        clip: Clip boxes to their image.

    Returns:
        ``images`` (ids from 1 in the order of the frames), ``annotations`` with
        ``scalabel_id`` and ``attributes``, ignored ones with ``iscrowd`` 1, and
        ``categories`` (ids from 1 in the official order).
    """
    ids = {name: CLASSES.index(name) + 1 for name in CLASSES if name in set(classes)}
    images, annotations = [], []
    for image_id, (frame, size) in enumerate(zip(frames, sizes, strict=True), 1):
        images.append(
            {
                'id': image_id,
                'file_name': frame.relative_path,
                'width': size[0],
                'height': size[1],
                'attributes': frame.attributes,
            }
        )
        for label in frame.labels:
            if label.category not in ids:
                continue
            box = fit_box(label, size, report, frame.place)
            if box is None:
                continue
            x1, y1, x2, y2 = box if clip else label.xyxy
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': ids[label.category],
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'iscrowd': int(label.ignored),
                    'ignore': 0,
                    'scalabel_id': label.id,
                    'attributes': label.attributes,
                }
            )
    categories = [{'id': number, 'name': name} for name, number in ids.items()]
    return {
        'info': {'description': 'BDD100K detection'},  # pycocotools wants it
        'type': 'instance',
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(_main, parse_args(argv), 'bdd100k_to_coco.py')


def _main(args: argparse.Namespace) -> None:
    refuse_input(args.output, args.labels)
    frames, report = load_frames(args.labels)
    sizes = image_sizes(frames, args.images, args.image_size)
    coco = to_coco(frames, sizes, report, args.classes, args.clip)
    report.check_outside(args.labels, len(coco['annotations']))
    if args.image_size is None and not any(frame.size for frame in frames):
        boxes = [label.xyxy for frame in frames for label in frame.labels]
        told = seems_smaller(boxes, sizes)
        if told is not None:
            raise LabelFileError(
                f'{args.labels}: {told}; if the boxes are right, give --image-size in the place '
                'of --images'
            )
    write_json(args.output, coco)
    if report.summary():
        print(f'warning: {args.labels}: {report.summary()}', file=sys.stderr)
    print(
        f'{args.output}: {len(coco["images"])} images ({report.negatives} without labels), '
        f'{len(coco["annotations"])} boxes'
    )


if __name__ == '__main__':
    sys.exit(main())
