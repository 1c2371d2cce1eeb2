"""What tools/detect.py does: a trained detector on images, folders, videos and cameras."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from .main import DONE, INTERRUPTED, MISTAKE, check_folder, check_free, counted, run, title_of

PROGRAM = 'mmclarity-detect'
SHIPPED = ('two_looks', 'context', 'plain')  # of mmclarity.detection.shipped, not imported here
MOST_LOOKS = 100  # images in one page of attention; it holds them all


def detect_parser() -> argparse.ArgumentParser:
    """Command line of tools/detect.py."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description='Find objects, draw them, and write them as COCO JSON, Scalabel JSON and CSV.',
    )
    parser.add_argument(
        'input',
        metavar='IN',
        help="image, folder, pattern ('night/*.jpg'), video, or number of a camera",
    )
    parser.add_argument('--out', required=True, metavar='FOLDER', help='made if missing')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--shipped',
        choices=SHIPPED,
        help=f'of the shipped detectors the one that looks twice ({SHIPPED[0]}, the default), that '
        'does so with attention (context, the default with --attention), or that looks once',
    )
    which.add_argument(
        '--plain', dest='shipped', action='store_const', const='plain', help='--shipped plain'
    )
    parser.add_argument(
        '--config', help='of your own detector (default: the shipped one, for road scenes)'
    )
    parser.add_argument('--checkpoint', metavar='FILE.pth|FILE.onnx', help='of your own detector')
    parser.add_argument(
        '--backend',
        choices=['torch', 'onnxruntime'],
        default='torch',
        help='onnxruntime runs what mmclarity-export wrote (--checkpoint '
        'FILE.onnx); torch is not imported then',
    )
    parser.add_argument(
        '--threshold', type=float, default=0.3, help='least score (default %(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=4, help='images at once (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the best there is)')
    parser.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        help='precision (default: bfloat16 on a processor that computes in it, if the config '
        'evaluates in it)',
    )
    parser.add_argument('--no-draw', action='store_true', help='only write the three tables')
    parser.add_argument(
        '--frames', action='store_true', help='draw the frames of a video as pictures, not a video'
    )
    parser.add_argument(
        '--attention',
        action='store_true',
        help=f'also write OUT/attention.html: what each detection of the first {MOST_LOOKS} images '
        'drew on (detectors with attention)',
    )
    parser.add_argument('--max-images', type=int, help='stop after so many (of a camera, say)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace existing results, drawn ones too'
    )
    return parser


def detect(args: argparse.Namespace) -> int:
    """Detect as the parsed command line says; 2 if an image could not be read, 130 if interrupted.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    from mmclarity.errors import DataError, UsageError

    if args.batch_size < 1:
        raise UsageError(f'--batch-size {args.batch_size}: give 1 or more')
    if not 0 <= args.threshold <= 1:
        raise UsageError(f'--threshold {args.threshold:g}: give a score from 0 to 1')
    if args.max_images is not None and args.max_images < 1:
        raise UsageError(f'--max-images {args.max_images}: give 1 or more')
    check_folder(Path(args.out))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what other libraries say about themselves
        from mmclarity.detection.inference.outputs import FILES, Results
        from mmclarity.detection.inference.video import check_can_write

        names = [*FILES, 'attention.html'] if args.attention else FILES
        check_free(*(Path(args.out, name) for name in names), overwrite=args.overwrite)
        drawn = None if args.no_draw else Path(args.out, 'drawn')
        source, count = _source(args, drawn)
        first = next(source, None)
        source = itertools.chain([] if first is None else [first], source)
        if first is not None and first.video is not None and not (args.no_draw or args.frames):
            check_can_write()
        detector = _detector(args)
        looks = _Looks(detector, args) if args.attention else None
        results = Results(args.out, detector.classes, args.overwrite, args.frames)
        try:
            try:
                failed, whole = _work(detector, results, source, count, args, looks)
            except Exception:
                _keep(results)
                raise
            if failed and not results.images:
                raise DataError(f'{args.input}: no image in it can be read; nothing is written')
            written = results.write()
        finally:
            results.drop()
    for path in [*written, *(looks.write() if looks else [])]:
        print(f'written: {path}')
    if drawn is not None and drawn.is_dir():
        print(f'drawn: {drawn}')
    if looks is not None and looks.left_out:
        print(f'attention.html shows the first {MOST_LOOKS} of {len(results.images)} images')
    _tell_of_earlier(results, looks)
    print(
        f'{counted(len(results.images), "image")}, '
        f'{counted(len(results.annotations), "object")} with a score of {args.threshold:g} or more'
        + (f'; {counted(failed, "image")} could not be read' if failed else '')
    )
    if not whole and count is not None:  # a camera ends in no other way
        return INTERRUPTED
    return MISTAKE if failed else DONE


def _source(args: argparse.Namespace, drawn: Path | None):
    """The images, and how many there are (None: unknown); what is left out is said."""
    from mmclarity.detection.inference.sources import pictures

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        source, count = pictures(args.input, drawn)
    for warning in told:
        print(f'{PROGRAM}: {warning.message}', file=sys.stderr)
    if args.max_images is None:
        return source, count
    most = args.max_images
    return itertools.islice(source, most), most if count is None else min(count, most)


def _detector(args: argparse.Namespace):
    from mmclarity.errors import UsageError

    if args.backend == 'onnxruntime':
        if args.checkpoint is None or args.config is not None or args.shipped is not None:
            raise UsageError(
                '--backend onnxruntime takes the file that mmclarity-export wrote, which knows all '
                'that a config says: --checkpoint FILE.onnx, no --config and no --shipped'
            )
        if args.device not in (None, 'cpu') or args.dtype not in (None, 'float32'):
            raise UsageError(
                '--backend onnxruntime computes on the CPU in float32: leave out --device and '
                '--dtype, or take --backend torch'
            )
        from mmclarity.detection.inference.onnx_detector import OnnxDetector

        return OnnxDetector(args.checkpoint, args.threshold)
    if args.config is None and str(args.checkpoint).endswith('.onnx'):
        raise UsageError(f'--checkpoint {args.checkpoint}: add --backend onnxruntime')
    from mmclarity.detection.inference.detector import Detector

    shipped = args.shipped
    if shipped is None and args.attention and args.config is None:
        shipped = 'context'
    return Detector(
        args.config,
        args.checkpoint,
        args.device,
        args.threshold,
        dtype=args.dtype,
        shipped=shipped,
    )


class _Looks:
    """The page of attention that goes with the results, of the first images."""

    def __init__(self, detector, args: argparse.Namespace) -> None:
        from mmclarity.errors import UsageError

        if args.backend != 'torch':
            raise UsageError(
                '--attention needs --backend torch: an exported detector does not tell its weights'
            )
        from mmclarity.detection.viewer import Page
        from mmclarity.detection.viewer.looks import check_explains

        check_explains(detector.inferencer.model)
        self.path, self.overwrite = Path(args.out, 'attention.html'), args.overwrite
        self.detector, self.left_out = detector, 0
        self.page = Page(f'Attention: {title_of(args.input)}', detector.classes)

    def add(self, picture) -> None:
        from mmclarity.detection.viewer import look_at

        if len(self.page.images) == MOST_LOOKS:
            self.left_out += 1
            return
        look = look_at(self.detector, picture.pixels)
        self.page.add(picture.name, picture.pixels, look)

    def write(self) -> list[Path]:
        if not self.page.images:
            return []
        self.page.write(self.path, self.overwrite)
        return [self.path]


def _tell_of_earlier(results, looks: _Looks | None) -> None:
    """What of an earlier run is gone, and what is still there and belongs to no result."""
    if results.removed:
        print(f'removed: {counted(results.removed, "drawn file")} of an earlier run')
    there = [f'drawn/{name}' for name in results.strangers]
    if looks is None and (results.folder / 'attention.html').exists():
        there.append('attention.html')
    if there:
        more = f' and {len(there) - 3} more' if len(there) > 3 else ''
        print(
            f'{PROGRAM}: {results.folder}: not of this run, and left as it was: '
            f'{", ".join(there[:3])}{more}',
            file=sys.stderr,
        )


def _keep(results) -> None:
    """Write what was found before an error, which is told after it."""
    if not results.images:
        return
    with contextlib.suppress(OSError):  # the disk may be what the error is about
        results.write()
        print(
            f'{PROGRAM}: the first {len(results.images)} images are written to {results.folder}',
            file=sys.stderr,
        )


def _work(
    detector, results, source, count: int | None, args: argparse.Namespace, looks: _Looks | None
) -> tuple[int, bool]:
    """Go through the source in batches.

    Returns:
        How many images could not be read, and whether the end was reached.
    """
    from tqdm import tqdm

    from mmclarity.detection.inference.detections import too_long

    failed, said = 0, set[str]()
    with tqdm(total=count, unit='image', disable=not sys.stderr.isatty()) as bar:
        try:
            while batch := list(itertools.islice(source, args.batch_size)):
                readable = [picture for picture in batch if picture.pixels is not None]
                for picture in batch:
                    if picture.pixels is None:
                        failed += 1
                        tqdm.write(f'{PROGRAM}: {picture.error}', file=sys.stderr)
                        continue
                    for remark in (picture.remark, too_long(picture.pixels, detector.scale)):
                        if remark and remark not in said:
                            said.add(remark)
                            line = f'{PROGRAM}: {picture.name}: {remark} (said once)'
                            tqdm.write(line, file=sys.stderr)
                found = detector([picture.pixels for picture in readable])
                for picture, detections in zip(readable, found):
                    results.add(picture, detections, draw=not args.no_draw)
                    if looks is not None:
                        looks.add(picture)
                bar.update(len(batch))
        except KeyboardInterrupt:
            if not results.images:
                raise
            tqdm.write(f'{PROGRAM}: interrupted; what was found is written', file=sys.stderr)
            return failed, False
    return failed, True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return run(detect, detect_parser(), argv)
