"""What is there to win? AP of a detector if all its names, or all its boxes, were right.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=val
    python tools/analysis_tools/detection_ceilings.py val.gt.json val.bbox.json

Attention among proposals is there to name objects that cannot be named alone. Asked of the plain
detector, `names right` is the most that it, or anything else that only names, can reach on these
data. Where boxes are what is wrong, train longer, on larger images or on more of them.
"""

import argparse
import sys
from collections.abc import Sequence

from terminaltables import AsciiTable

from mmclarity.detection.datasets.coco import check_detection, read_coco, read_detections
from mmclarity.detection.evaluation.ceilings import evaluate_ceilings, share_found
from mmclarity.detection.evaluation.coco_eval import BoxSummary
from mmclarity.utils.json_files import LabelFileError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ground_truth', help='COCO data set, e.g. the *.gt.json of BDD100KMetric')
    parser.add_argument('detections', help='COCO result list, e.g. the *.bbox.json beside it')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='evaluate these (default: all with objects)'
    )
    parser.add_argument(
        '--max-dets', type=int, default=100, help='detections for each image and class (100)'
    )
    return parser.parse_args(argv)


def choose_classes(coco: dict, names: Sequence[str] | None) -> dict[int, str]:
    """Names of the classes to evaluate, by id.

    Raises:
        LabelFileError: If a name is unknown, or there is nothing to find.
    """
    known = {item['id']: item['name'] for item in coco['categories']}
    unknown = [name for name in names or () if name not in known.values()]
    if unknown:
        raise LabelFileError(f'--classes {unknown}: the file has {list(known.values())}')
    filled = {gt['category_id'] for gt in coco['annotations'] if not gt.get('iscrowd')}
    if not filled:
        raise LabelFileError('the ground truth has no objects; give a data set with annotations')
    return {k: name for k, name in known.items() if (name in names if names else k in filled)}


def table(summaries: dict[str, BoxSummary], classes: dict[int, str]) -> str:
    """AP in per cent, of all classes and of each."""
    rows = [['', 'AP', 'AP50', 'AP75', *classes.values()]]
    for name, summary in summaries.items():
        values = [summary.average(), summary.average(0.5), summary.average(0.75)]
        values += [summary.average(category_id=k) for k in classes]
        rows.append([name, *(f'{100 * value:.1f}' for value in values)])
    return AsciiTable(rows).table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    args = parse_args(argv)
    try:
        coco = read_coco(args.ground_truth)
        if 'annotations' not in coco:
            raise LabelFileError(f'{args.ground_truth}: no "annotations"; give the ground truth')
        dts = read_detections(args.detections)
        order = {item['id']: place for place, item in enumerate(coco['images'])}
        names = {item['id']: item['name'] for item in coco['categories']}
        for index, item in enumerate(dts):
            check_detection(item, f'{args.detections}: detection {index}', order, names)
        classes = choose_classes(coco, args.classes)
    except (OSError, LabelFileError) as err:
        print(f'error: {err}', file=sys.stderr)
        return 1
    gts, dts = (
        [
            {'iscrowd': 0, **item, 'image_id': order[item['image_id']]}
            for item in items
            if item['category_id'] in classes
        ]
        for items in (coco['annotations'], dts)
    )
    summaries = evaluate_ceilings(gts, dts, len(order), list(classes), args.max_dets)
    print(table(summaries, classes))
    found = share_found(gts, dts, len(order))
    print(f'{100 * found:.0f} % of the objects have a detection on them (IoU 0.5), whatever name.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
