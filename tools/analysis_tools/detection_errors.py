"""Where does a detector fail? One report from a result file.

    python tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=val
    python tools/analysis_tools/detection_errors.py val.bbox.json --ann val.gt.json \\
        --images data/bdd100k/images/100k/val --out val_errors

Kinds of mistakes after TIDE (name, box, both, duplicate, missed, background) and what each costs;
ceilings; the confusion matrix; precision-recall and calibration curves; all of it by class, size,
weather, time of day and scene; and the worst images as pictures. Writes OUT.html, one page with
everything in it, and OUT.md with its pictures in the folder OUT_files.

Labels are COCO or Scalabel (BDD100K) JSON, results a COCO result list or Scalabel frames.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import finish
from mmclarity.detection.evaluation import error_report as report
from mmclarity.detection.evaluation.label_files import parse_size, read_labels, read_results
from mmclarity.detection.evaluation.plausible import check_scores, doubts
from mmclarity.errors import UsageError
from mmclarity.utils.files import write_bytes, write_text


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('results', help='results, e.g. the *.bbox.json of BDD100KMetric')
    add('--ann', required=True, metavar='LABELS', help='Scalabel file or folder, or COCO JSON')
    add('--images', metavar='FOLDER', help='the images, to show the worst ones')
    add('--out', default='detection_errors', metavar='NAME', help='of the report (%(default)s)')
    add('--name', help='of the detector (default: of the file)')
    add('--classes', nargs='+', metavar='NAME', help='evaluate these (default: all with objects)')
    add('--min-score', type=float, default=0.3, help='of confusion matrix and pictures (0.3)')
    add('--worst', type=int, default=8, help='how many images are shown (8)')
    add('--max-dets', type=int, default=100, help='detections for each image and class (100)')
    add(
        '--area-scale',
        metavar='FACTOR|WxH',
        help='small, medium and large are told by areas times this; or as in frames of this size',
    )
    add('--image-size', metavar='WxH', help='of images whose size the labels do not give')
    args = parser.parse_args(argv)
    if args.max_dets < 1 or args.worst < 0:
        parser.error('--max-dets must be positive, --worst at least 0')
    if args.image_size is not None and parse_size(args.image_size) is None:
        parser.error(f'--image-size {args.image_size}: give WIDTHxHEIGHT in pixels, e.g. 1280x720')
    return args


def run(args: argparse.Namespace) -> None:
    """Reads, evaluates and writes.

    Raises:
        OSError: If a file cannot be read or written.
        UsageError: If it cannot be used.
    """
    folder = Path(args.images) if args.images else None
    if folder is not None and not folder.is_dir():
        raise UsageError(f'--images {folder}: no such folder; give that of the images, or leave it')
    labelled = read_labels(args.ann, parse_size(args.image_size) if args.image_size else None)
    dts = read_results(args.results, labelled)
    check_scores(args.results, dts)
    labelled.notes += doubts(args.results, dts, labelled)
    scale, sentence = labelled.area_scale(args.area_scale)
    name = args.name or Path(args.results).name.removesuffix('.json').removesuffix('.bbox')
    sections = report.build(
        labelled,
        dts,
        labelled.chosen(args.classes),
        name,
        args.max_dets,
        scale,
        sentence,
        args.min_score,
        folder,
        args.worst,
    )
    pictures = Path(f'{args.out}_files')
    for section in sections:
        for file, _, content in section.images:
            write_bytes(pictures / file, content, parents=True)
    write_text(f'{args.out}.md', report.as_markdown(sections, pictures.name), parents=True)
    write_text(f'{args.out}.html', report.as_html(sections), parents=True)
    print(f'written: {args.out}.html, {args.out}.md, {pictures}/')
    files = [file for section in sections for file, _, _ in section.images]
    wanted = folder is not None and any(section.title == 'Worst images' for section in sections)
    if wanted and args.worst and not any(file.startswith('worst_') for file in files):
        print(
            f'detection_errors.py: none of the worst images is in {folder}, so none is shown',
            file=sys.stderr,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(run, parse_args(argv), 'detection_errors.py')


if __name__ == '__main__':
    sys.exit(main())
