"""What mmclarity-export does: a trained restorer or detector as one ONNX file."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .main import check_free, mistakes, run


def export_parser() -> argparse.ArgumentParser:
    """Command line of mmclarity-export."""
    parser = argparse.ArgumentParser(
        description='Export a restorer or a two-stage detector to ONNX, and compare the file with '
        'torch at several sizes.',
    )
    parser.add_argument('config', help='of the model; one of mmclarity also by its name')
    parser.add_argument(
        'checkpoint', help='weights; of a detector also the word shipped: those of the package'
    )
    parser.add_argument('output', type=Path, metavar='OUT.onnx', help='file to write')
    parser.add_argument('--opset', type=int, default=18, help='of ONNX (default %(default)s)')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference from torch, of the range of a restored image or of the score of '
        'a detection (default %(default)s)',
    )
    parser.add_argument(
        '--boxes-only', action='store_true', help='of a detector with masks, without these'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser


def export(args: argparse.Namespace) -> None:
    """Write the file, after it was compared with torch; one that differs is not.

    Raises:
        UsageError: For whatever the caller can mend.
    """
    check_free(args.output, overwrite=args.overwrite)
    with warnings.catch_warnings():
        # Above all this silences what other libraries say about themselves while loading.
        warnings.simplefilter('ignore')
        from mmclarity.engine.config import load_config
        from mmclarity.utils.files import replacing

        _check_opset(args.opset)
        scope = load_config(args.config).get('default_scope')
        kind = _detector if scope == 'mmdet' else _restorer
        # Nobody finds a file that was not compared, and one that is replaced stays until then.
        with replacing(args.output, args.overwrite) as part:
            agreement = kind(args, part)
    size = args.output.stat().st_size / 1e6
    print(f'written: {args.output} ({size:.1f} MB), {agreement}')


def _check_opset(opset: int) -> None:
    import onnx

    from mmclarity.errors import UsageError

    newest = onnx.defs.onnx_opset_version()
    if not 18 <= opset <= newest:
        raise UsageError(f'--opset {opset}: give 18 to {newest} (what the installed onnx knows)')


def _restorer(args: argparse.Namespace, file: Path) -> str:
    from mmclarity.errors import UsageError
    from mmclarity.utils.checkpoints import SHIPPED

    if args.checkpoint == SHIPPED:
        raise UsageError(
            f'{args.config}: weights ship for detectors only (configs/*_fine.py); give the '
            'checkpoint of a restorer that you trained'
        )
    with mistakes(ValueError, TypeError, RuntimeError):
        from mmclarity.restoration.inference.export import check_onnx, export_onnx
        from mmclarity.restoration.inference.restorer import build_restorer

        model = build_restorer(args.config, args.checkpoint)
        export_onnx(model, file, args.opset, overwrite=True)
    with _agreement(args, file):
        worst = check_onnx(model, file, tolerance=args.tolerance)
    return f'differs from torch by at most {worst:.1e} of the range'


def _detector(args: argparse.Namespace, file: Path) -> str:
    from mmclarity.detection.export import check_detector, export_detector
    from mmclarity.detection.inference.detector import Detector

    detector = Detector(args.config, args.checkpoint, 'cpu', dtype='float32')
    model = detector.inferencer.model
    export_detector(model, file, args.opset, True, args.boxes_only)
    with _agreement(args, file):
        found = check_detector(model, file, args.tolerance)
    lowered = ''
    if found.lowered < 1:
        lowered = f', with {found.lowered:g} of its thresholds of scores,'
    return (
        f'{found.detections} detections in images of three sizes{lowered} differ from torch by at '
        f'most {found.score:.1e} in score and {found.box:.1e} pixels'
    )


@contextmanager
def _agreement(args: argparse.Namespace, file: Path) -> Iterator[None]:
    """Say of a file that differs from torch that it is not written."""
    from mmclarity.errors import UsageError

    try:
        yield
    except (RuntimeError, UsageError) as error:
        said = str(error).replace(str(file), str(args.output))
        raise UsageError(f'{said}; {args.output} is not written') from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return run(export, export_parser(), argv)
