"""What tools/detect.py does: a trained detector on images, folders, videos and cameras."""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from collections.abc import Sequence

from .main import DONE, MISTAKE, run


def detect_parser() -> argparse.ArgumentParser:
    """Command line of tools/detect.py."""
    parser = argparse.ArgumentParser(
        prog='detect.py',
        description='Find objects, draw them, and write them as COCO JSON, Scalabel JSON and CSV.',
    )
    parser.add_argument(
        'input',
        metavar='IN',
        help="image, folder, pattern ('night/*.jpg'), video, or number of a camera",
    )
    parser.add_argument('--out', required=True, metavar='FOLDER', help='made if missing')
    parser.add_argument('--config', required=True, help='also looked for in the repository')
    parser.add_argument('--checkpoint', required=True, metavar='FILE.pth')
    parser.add_argument(
        '--threshold', type=float, default=0.3, help='least score (default %(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=4, help='images at once (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the best there is)')
    parser.add_argument('--no-draw', action='store_true', help='only write the three tables')
    parser.add_argument('--max-images', type=int, help='stop after so many (of a camera, say)')
    parser.add_argument('--overwrite', action='store_true', help='replace existing results')
    return parser


def detect(args: argparse.Namespace) -> int:
    """Detect as the parsed command line says; 2 if an image could not be read.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    from mmclarity.errors import UsageError

    if args.batch_size < 1 or not 0 <= args.threshold <= 1:
        raise UsageError('--batch-size must be 1 or more, and --threshold from 0 to 1')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what other libraries say about themselves
        from mmclarity.detection.inference.detector import Detector
        from mmclarity.detection.inference.outputs import Results
        from mmclarity.detection.inference.sources import pictures

        source, count = pictures(args.input)
        if args.max_images is not None:
            source = itertools.islice(source, args.max_images)
            count = args.max_images if count is None else min(count, args.max_images)
        detector = Detector(args.config, args.checkpoint, args.device, args.threshold)
        results = Results(args.out, detector.classes, args.overwrite)
        failed = _work(detector, results, source, count, args)
    for path in results.write():
        print(f'written: {path}')
    print(
        f'{len(results.images)} images, {len(results.annotations)} objects, {failed} images '
        'could not be read'
    )
    return MISTAKE if failed else DONE


def _work(detector, results, source, count: int | None, args: argparse.Namespace) -> int:
    """Go through the source in batches; returns how many images could not be read."""
    from tqdm import tqdm

    failed = 0
    with tqdm(total=count, unit='image', disable=not sys.stderr.isatty()) as bar:
        try:
            while batch := list(itertools.islice(source, args.batch_size)):
                readable = [picture for picture in batch if picture.pixels is not None]
                for picture in batch:
                    if picture.pixels is None:
                        failed += 1
                        tqdm.write(f'detect.py: {picture.error}', file=sys.stderr)
                found = detector([picture.pixels for picture in readable])
                for picture, detections in zip(readable, found):
                    results.add(picture, detections, draw=not args.no_draw)
                bar.update(len(batch))
        except KeyboardInterrupt:
            tqdm.write('detect.py: interrupted; what was found is written', file=sys.stderr)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return run(detect, detect_parser(), argv)
