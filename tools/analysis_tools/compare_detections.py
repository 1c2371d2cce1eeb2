"""Is one detector better than another, and where? From result files, with intervals.

    python tools/test.py PLAIN.py PLAIN.pth --cfg-options test_evaluator.outfile_prefix=plain
    python tools/test.py HEAD.py HEAD.pth --cfg-options test_evaluator.outfile_prefix=head
    python tools/analysis_tools/compare_detections.py plain.bbox.json head.bbox.json \\
        --ann plain.gt.json --out plain_head

A paired bootstrap over images: AP, AP50, AP75, by size, class, weather, time of day and scene, each
with its interval and that of the difference. Files after the second are compared with the first as
well. Labels are COCO or Scalabel (BDD100K) JSON, results COCO result lists or Scalabel frames.

Several seeds of two detectors are compared as pairs:

    ... --a plain_0.bbox.json plain_1.bbox.json --b head_0.bbox.json head_1.bbox.json --ann LABELS

--out NAME writes NAME.md, NAME.csv, NAME.json and the forest plot NAME.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import finish
from mmclarity.detection.datasets.scalabel import FRAME_ATTRIBUTES
from mmclarity.detection.evaluation import comparison_report as report
from mmclarity.detection.evaluation.comparison import Comparison, compare
from mmclarity.detection.evaluation.label_files import parse_size, read_labels, read_results
from mmclarity.detection.evaluation.plausible import doubts
from mmclarity.errors import UsageError
from mmclarity.utils.figures import save
from mmclarity.utils.files import write_text
from mmclarity.utils.json_files import write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('results', nargs='*', metavar='FILE', help='results; each is compared with the first')
    add('--a', nargs='+', metavar='FILE', default=[], help='seeds of the first detector')
    add('--b', nargs='+', metavar='FILE', default=[], help='seeds of the second, in this order')
    add('--ann', required=True, metavar='LABELS', help='Scalabel file or folder, or COCO JSON')
    add('--names', nargs='+', metavar='NAME', help='of the detectors (default: of the files)')
    add('--classes', nargs='+', metavar='NAME', help='evaluate these (default: all with objects)')
    add(
        '--by',
        nargs='*',
        metavar='ATTRIBUTE',
        help=f'attributes of the image by which to split ({", ".join(FRAME_ATTRIBUTES)}); '
        'weather+timeofday splits by both at once',
    )
    add(
        '--together',
        metavar='N|folder|ATTRIBUTE',
        help='frames of one recording are drawn together: those whose file names begin with the '
        'same N characters, lie in one folder, or have an attribute in common (video_id)',
    )
    add('--draws', type=int, default=10_000, help='bootstrap draws (10000)')
    add('--confidence', type=float, default=0.95, help='of the intervals (0.95)')
    add('--seed', type=int, default=0, help='of the draws (0)')
    add('--max-dets', type=int, default=100, help='detections for each image and class (100)')
    add(
        '--area-scale',
        metavar='FACTOR|WxH',
        help='small, medium and large are told by areas times this; or as in frames of this size',
    )
    add('--image-size', metavar='WxH', help='of images whose size the labels do not give')
    add('--everything', action='store_true', help='all six numbers for classes and conditions too')
    add('--out', metavar='NAME', help='write NAME.md, NAME.csv, NAME.json and NAME.png')
    args = parser.parse_args(argv)
    if bool(args.a) != bool(args.b) or bool(args.a) == bool(args.results):
        parser.error('give two or more result files, or --a FILE... --b FILE...')
    if len(args.results) == 1:
        parser.error('one result file: give a second to compare it with')
    if len(args.a) != len(args.b):
        parser.error(f'--a has {len(args.a)} files, --b {len(args.b)}: seeds are compared as pairs')
    for option, given in (('--a', args.a), ('--b', args.b)):
        if len(set(given)) < len(given):
            parser.error(f'{option}: a file stands there twice; each seed has its own')
    if args.draws < 1 or args.max_dets < 1 or not 0 < args.confidence < 1:
        parser.error('--draws and --max-dets must be positive, --confidence between 0 and 1')
    if args.image_size is not None and parse_size(args.image_size) is None:
        parser.error(f'--image-size {args.image_size}: give WIDTHxHEIGHT in pixels, e.g. 1280x720')
    return args


def detector_names(files: Sequence[Sequence[str]], given: Sequence[str] | None) -> list[str]:
    """One name for each detector: given, or what is left of the first file's path.

    Raises:
        UsageError: If there are not as many names as detectors, or two are equal.
    """
    if given is not None:
        if len(given) != len(files) or len(set(given)) < len(given):
            raise UsageError(
                f'--names {" ".join(given)}: give {len(files)} different names, one a detector'
            )
        return list(given)
    paths = [Path(item[0]) for item in files]
    for parts in range(1, 5):
        names = [
            '/'.join(path.parts[-parts:])
            .removesuffix('.gz')
            .removesuffix('.json')
            .removesuffix('.bbox')
            for path in paths
        ]
        if len(set(names)) == len(names):
            return names
    return [f'{chr(ord("A") + place % 26)}{place // 26 or ""}' for place in range(len(paths))]


def run(args: argparse.Namespace) -> Comparison:
    """Reads the files and compares.

    Raises:
        OSError: If a file cannot be read.
        UsageError: If it cannot be used.
    """
    files = [[file] for file in args.results] or [args.a, args.b]
    names = detector_names(files, args.names)
    labelled = read_labels(args.ann, parse_size(args.image_size) if args.image_size else None)
    categories = labelled.chosen(args.classes)
    known = {key for item in labelled.attributes for key in item}
    unknown = [name for name in args.by or () if not known.issuperset(name.split('+'))]
    if unknown:
        raise UsageError(
            f'--by {" ".join(unknown)}: the images of {args.ann} have '
            f'{", ".join(sorted(known)) or "no attributes"}'
        )
    scale, sentence = labelled.area_scale(args.area_scale)
    if sentence:
        labelled.notes.append(sentence[0].upper() + sentence[1:] + '.')
    detectors = {
        name: [read_results(file, labelled) for file in seeds] for name, seeds in zip(names, files)
    }
    for name, seeds in zip(names, files):
        for file, dts in zip(seeds, detectors[name]):
            labelled.notes += doubts(file, dts, labelled)
    units, drawn_as = labelled.units(args.together) if args.together else (None, 'images')
    if units:
        labelled.notes.append(
            f'Drawn are {len(set(units)):,} {drawn_as} that hold {len(units):,} images.'
        )
    return compare(
        labelled,
        detectors,
        categories,
        labelled.groups(FRAME_ATTRIBUTES if args.by is None else args.by),
        args.draws,
        args.confidence,
        args.seed,
        args.max_dets,
        scale,
        units,
        drawn_as.split(' (')[0],
    )


def write(comparison: Comparison, name: str, everything: bool) -> None:
    """Writes the four files."""
    write_text(f'{name}.md', report.as_markdown(comparison, everything), parents=True)
    write_text(f'{name}.csv', report.as_csv(comparison))
    write_json(f'{name}.json', report.as_json(comparison))
    save(report.forest_plot(comparison), f'{name}.png')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(_main, parse_args(argv), 'compare_detections.py')


def _main(args: argparse.Namespace) -> None:
    comparison = run(args)
    print(report.as_text(comparison, args.everything))
    if args.out:
        write(comparison, args.out, args.everything)
        print(f'written: {args.out}.md, .csv, .json, .png')


if __name__ == '__main__':
    sys.exit(main())
