"""Export a trained restorer to ONNX, and compare the file with torch at two sizes.

    python tools/deployment/export_onnx.py CONFIG CHECKPOINT restorer.onnx

The input ``image`` is (batch, 1, height, width), float32, grey values divided by the value that
means white; the output ``restored`` has the same size and range.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import finish, mistakes
from mmclarity.errors import UsageError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='export_onnx.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='of the model; also looked for in the repository')
    parser.add_argument('checkpoint', help='weights')
    parser.add_argument('output', type=Path, help='file to write')
    parser.add_argument('--opset', type=int, default=18, help='of ONNX (default 18)')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference from torch, of the range (default 1e-4)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(export, parse_args(argv), 'export_onnx.py')


def export(args: argparse.Namespace) -> None:
    """Write the ONNX file and compare it with torch; one that differs is removed."""
    with mistakes(ValueError, TypeError, RuntimeError), warnings.catch_warnings():
        # Above all this silences what other libraries say about themselves while loading.
        warnings.simplefilter('ignore')
        from mmclarity.restoration.inference.export import check_onnx, export_onnx
        from mmclarity.restoration.inference.restorer import build_restorer

        model = build_restorer(args.config, args.checkpoint)
        export_onnx(model, args.output, args.opset, args.overwrite)
    try:
        worst = check_onnx(model, args.output, tolerance=args.tolerance)
    except RuntimeError as error:
        args.output.unlink()
        raise UsageError(f'{error}; the file was removed') from error
    print(
        f'written: {args.output} ({args.output.stat().st_size / 1e6:.1f} MB), differs from '
        f'torch by at most {worst:.1e} of the range'
    )


if __name__ == '__main__':
    sys.exit(main())
