"""What is there to win? AP of a detector if one kind of its mistakes were put right.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=val
    python tools/analysis_tools/detection_ceilings.py val.gt.json val.bbox.json

Attention among proposals is there to name objects that cannot be named alone. Asked of the plain
detector, `names right` is the most that it, or anything else that only names, can reach on these
data; `names near a right one` renames only those that have a sure and rightly named neighbour of
the right class close by, as a reader of the scene would. Where boxes are what is wrong, train
longer, on larger images or on more of them.

One table by class, one by size, and one for each attribute of the images (weather, time of day,
scene). Labels are COCO or Scalabel (BDD100K) JSON, results COCO result lists or Scalabel frames.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from terminaltables import AsciiTable

from mmclarity.cli.main import finish
from mmclarity.detection.evaluation.ceilings import (
    CLOSE,
    SURE,
    count_near_sure,
    evaluate_ceilings_of,
    share_found,
)
from mmclarity.detection.evaluation.coco_eval import BoxSummary
from mmclarity.detection.evaluation.label_files import parse_size, read_labels, read_results
from mmclarity.detection.evaluation.plausible import check_scores, doubts


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ground_truth', help='labels, e.g. the *.gt.json of BDD100KMetric')
    parser.add_argument('detections', help='results, e.g. the *.bbox.json beside it')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='evaluate these (default: all with objects)'
    )
    parser.add_argument(
        '--max-dets', type=int, default=100, help='detections for each image and class (100)'
    )
    parser.add_argument(
        '--area-scale',
        metavar='FACTOR|WxH',
        help='small, medium and large are told by areas times this; or as in frames of this size',
    )
    parser.add_argument('--image-size', metavar='WxH', help='where the labels do not give it')
    args = parser.parse_args(argv)
    if args.image_size is not None and parse_size(args.image_size) is None:
        parser.error(f'--image-size {args.image_size}: give WIDTHxHEIGHT in pixels, e.g. 1280x720')
    return args


def table(summaries: Mapping[str, BoxSummary], classes: Mapping[int, str]) -> str:
    """AP in per cent, of all classes, by size, and of each class."""
    rows = [['', 'AP', 'AP50', 'AP75', 'small', 'medium', 'large', *classes.values()]]
    for name, summary in summaries.items():
        values = list(summary.numbers().values())
        values += [summary.average(category_id=k) for k in classes]
        rows.append([name, *(f'{100 * value:.1f}' for value in values)])
    return AsciiTable(rows).table


def group_table(groups: Mapping[str, Mapping[str, BoxSummary]]) -> str:
    """AP in per cent as it is, and the points that each kind is worth, group by group."""
    kinds = list(next(iter(groups.values())))
    rows = [['images of', 'images', *kinds]]
    for group, summaries in groups.items():
        base, *others = (100 * summary.average() for summary in summaries.values())
        images = len(summaries[kinds[0]].params.imgIds)
        gains = (f'{value - base:+.1f}' for value in others)
        rows.append([group, images, f'{base:.1f}', *gains])
    return AsciiTable(rows).table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(_main, parse_args(argv), 'detection_ceilings.py')


def _main(args: argparse.Namespace) -> None:
    size = parse_size(args.image_size) if args.image_size else None
    labelled = read_labels(args.ground_truth, size)
    dts = read_results(args.detections, labelled)
    check_scores(args.detections, dts)
    labelled.notes += doubts(args.detections, dts, labelled)
    classes = labelled.chosen(args.classes)
    scale, sentence = labelled.area_scale(args.area_scale)
    gts, dts = (
        [item for item in items if item['category_id'] in classes] for items in (labelled.gts, dts)
    )
    images = len(labelled.names)
    groups = labelled.groups()
    found = evaluate_ceilings_of(gts, dts, images, list(classes), args.max_dets, scale, groups)
    print(table(found['all'], classes))
    if groups:
        print('AP as it is, and the points that each kind is worth:')
        print(group_table(found))
    for note in [*labelled.notes, sentence] if sentence else labelled.notes:
        print(note)
    share = share_found(gts, dts, images)
    print(f'{100 * share:.0f} % of the objects have a detection on them (IoU 0.5), whatever name.')
    for least in (0.05, 0.3):
        total, near = count_near_sure(gts, dts, images, least)
        print(
            f'Wrong names with a score of {least:g} or more: {total}; {near} '
            f'({100 * near / max(total, 1):.0f} %) have a right neighbour (another object of the '
            f'true class, rightly named with {SURE:g} or more, within {CLOSE:g} sides).'
        )


if __name__ == '__main__':
    sys.exit(main())
