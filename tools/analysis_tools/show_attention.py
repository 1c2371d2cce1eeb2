"""What did the detector look at? One page for an image or a folder.

    python tools/analysis_tools/show_attention.py CONFIG CHECKPOINT IMAGE|FOLDER --out page.html

For every detection the regions that it drew on and their weights, traced through suppression back
to its proposal, and what the same weights say of it without context: name, score, box. The page is
one file with everything in it: click a detection, or use the arrow keys.
"""

import argparse
import itertools
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import DONE, MISTAKE, check_free, counted, finish, title_of
from mmclarity.errors import UsageError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='show_attention.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('config', help='of a detector with attention; also looked for in the repository')
    add('checkpoint', help='weights')
    add('input', metavar='IMAGE|FOLDER', help="or a pattern ('night/*.jpg'), or a video")
    add('--out', required=True, type=Path, metavar='PAGE.html', help='file to write')
    add('--threshold', type=float, default=0.3, help='least score (default %(default)s)')
    add('--top', type=int, default=8, metavar='K', help='regions told in words (%(default)s)')
    add('--max-images', type=int, default=50, metavar='N', help='stop after so many (%(default)s)')
    add('--device', help='cpu, cuda, cuda:1, ... (default: the best there is)')
    add('--overwrite', action='store_true', help='replace an existing page')
    args = parser.parse_args(argv)
    if args.top < 1 or args.max_images < 1 or not 0 <= args.threshold <= 1:
        parser.error('--top and --max-images must be 1 or more, --threshold from 0 to 1')
    if args.out.suffix.lower() not in ('.html', '.htm'):
        parser.error(f'--out {args.out}: a page is an .html file')
    return args


def show(args: argparse.Namespace) -> int:
    """Detect, look, write the page; 2 if an image could not be read.

    Raises:
        UsageError: For whatever the caller can mend.
    """
    check_free(args.out, overwrite=args.overwrite)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what other libraries say about themselves
        from tqdm import tqdm

        from mmclarity.detection.inference.detector import Detector
        from mmclarity.detection.inference.sources import pictures
        from mmclarity.detection.viewer import Page, look_at
        from mmclarity.detection.viewer.looks import check_explains

        source, count = pictures(args.input)
        detector = Detector(args.config, args.checkpoint, args.device, args.threshold)
        check_explains(detector.inferencer.model)
        page, failed = Page(f'Attention: {title_of(args.input)}', detector.classes), 0
        bar = tqdm(
            itertools.islice(source, args.max_images),
            total=None if count is None else min(count, args.max_images),
            unit='image',
            disable=not sys.stderr.isatty(),
        )
        for picture in bar:
            if picture.pixels is None:
                failed += 1
                tqdm.write(f'show_attention.py: {picture.error}', file=sys.stderr)
                continue
            page.add(picture.name, picture.pixels, look_at(detector, picture.pixels, args.top))
    if not page.images:
        raise UsageError(f'{args.input}: none of its images can be read')
    page.write(args.out, args.overwrite)
    found = sum(len(image['detections']) for image in page.images)
    changed = sum(
        len(image['lost']) + sum(bool(one['changes']) for one in image['detections'])
        for image in page.images
    )
    print(
        f'written: {args.out} ({args.out.stat().st_size / 1e6:.1f} MB): '
        f'{counted(len(page.images), "image")}, '
        f'{counted(found, "detection")}, {changed} changed by context'
    )
    if count is not None and count > args.max_images:
        print(f'{count - args.max_images} further images were left out (--max-images)')
    return MISTAKE if failed else DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(show, parse_args(argv), 'show_attention.py')


if __name__ == '__main__':
    sys.exit(main())
