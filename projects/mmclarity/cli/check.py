"""Is it true? Restore quick scans, and hold them against slow scans of the same fields.

    mmclarity-check QUICK.tif SLOW.tif
    mmclarity-check QUICK/ SLOW/ --out CHECKED
    mmclarity-check QUICK/ SLOW/ --restored OTHER/

Scan a field twice, quickly and slowly, with the same magnification, detector, brightness and
contrast. The slow scan is laid on the quick one and brought to its levels; then what the restored
image shows and the slow scan does not is counted as invented, and the other way round as missed:
bright particles and dark ones (pits, pores), from four strengths on. In folders, files of equal
names (without ending) are a pair. --restored holds what another program made of the quick scans.

OUT (default: QUICK_checked beside QUICK) gets check.md, check.json and a picture of each field with
circles around what was invented (red) and missed (blue). The exit status is 2 if a pair failed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmclarity.errors import DataError, UsageError
from mmclarity.utils.devices import check_device
from mmclarity.utils.files import with_own_name, write_text
from mmclarity.utils.json_files import write_json

from .main import DONE, MISTAKE, check_folder, check_free, finish

if TYPE_CHECKING:
    from mmclarity.restoration.inference.check import FieldCheck
    from mmclarity.restoration.io import SEMImage

Files = tuple[Path, Path, Path | None]  # quick, slow, restored by another program


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='mmclarity-check',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('quick', type=Path, metavar='QUICK', help='image or folder')
    add('slow', type=Path, metavar='SLOW', help='image or folder')
    add('--restored', type=Path, metavar='OTHER', help='of another program, image or folder')
    add('--out', type=Path, help='folder for the results')
    add('--sharpen', action='store_true', help='judge --sharpen of mmclarity-restore as well')
    add('--checkpoint', type=Path, help='weights of mmclarity-adapt')
    add('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    add('--data-range', type=float, metavar='WHITE', help='as mmclarity-restore')
    add('--channel', type=int, help='as mmclarity-restore')
    add('--crop', choices=['auto', 'none'], default='auto')
    add('--no-pictures', action='store_true', help='only numbers')
    add('--overwrite', action='store_true', help='replace existing results')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status: 0, or 2 if anything failed."""
    return finish(run, parse_args(argv), 'mmclarity-check')


def run(args: argparse.Namespace) -> int:
    """Checks as the parsed command line says; returns the exit status."""
    quick = with_own_name(args.quick)
    out = args.out or quick.with_name(f'{quick.stem}_checked')
    check_folder(out)
    check_free(out / 'check.json', overwrite=args.overwrite)
    check_device(args.device)
    pairs = pairs_of(args.quick, args.slow, args.restored)
    restorers = _restorers(args)
    reading = dict(
        data_range='measured' if args.data_range is None else args.data_range,
        channel=args.channel,
        crop=args.crop,
    )
    checks, failed = [], 0
    for files in pairs:
        try:
            checks.append(_check(files, restorers, reading))
        except (ValueError, OSError) as error:
            if len(pairs) == 1:
                raise UsageError(str(error)) from error
            failed += 1
            _say(f'left out: {error}')
            continue
        _write(checks, out, not args.no_pictures)
    if not checks:
        raise DataError(f'{args.quick}: no pair could be checked; see the lines above')
    _tell(checks, out)
    return MISTAKE if failed else DONE


def pairs_of(quick: Path, slow: Path, restored: Path | None = None) -> list[Files]:
    """Files that belong together: two images, or those of equal names in folders.

    Raises:
        OSError: one of them is missing.
        UsageError: an image and a folder; or a quick scan without its slow one.
    """
    from mmclarity.restoration.inference.files import originals
    from mmclarity.restoration.io.pairs import shared_name

    given = [path for path in (quick, slow, restored) if path is not None]
    for path in given:
        path.stat()
    folders = {path.is_dir() for path in given}
    if len(folders) > 1:
        raise UsageError(f'{quick} and {slow}: give images alone, or folders alone')
    if not quick.is_dir():
        return [(quick, slow, restored)]
    stems: list[dict[str, Path]] = []
    for folder in given:
        found = originals(folder)
        stems.append({shared_name(path): path for path in found})
        if len(stems[-1]) < len(found):
            raise UsageError(f'{folder}: two files have one name but for their ending; move one')
    shared = [name for name in stems[0] if all(name in others for others in stems)]
    if not shared:
        raise UsageError(
            f'{" and ".join(str(path) for path in given)} have no names in common; equal names '
            'without ending make a pair'
        )
    for folder, names in zip(given, stems):
        alone = sorted(set(names) - set(shared))
        if alone:
            _say(f'without a partner, left out: {folder}: {", ".join(alone[:5])}')
    others = stems[2] if len(stems) > 2 else {}
    return [(stems[0][name], stems[1][name], others.get(name)) for name in shared]


def _restorers(args: argparse.Namespace) -> dict[str, Callable]:
    from mmclarity.restoration import Restorer

    options: dict[str, Any] = dict(checkpoint=args.checkpoint, device=args.device)
    named = {'restored': Restorer(**options)}
    if args.sharpen:
        named['sharpened'] = Restorer(sharpen=1.0, **options)
    return {
        title: lambda levels, restorer=restorer: restorer(levels, data_range=1.0)
        for title, restorer in named.items()
    }


def _check(files: Files, restorers: dict[str, Callable], reading: dict) -> FieldCheck:
    from mmclarity.restoration.inference.check import check_field

    quick, slow, restored = files
    _say(f'{quick.name}: reading, restoring, comparing')
    noisy, reference = _read(quick, reading), _read(slow, reading)
    others = {} if restored is None else {'other program': _read(restored, reading)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        check = check_field(quick.stem, noisy, reference, restorers, others)
    for warning in dict.fromkeys(str(one.message) for one in caught):
        _say(f'warning: {quick.name}: {warning}')
    return check


def _read(path: Path, reading: dict) -> SEMImage:
    from mmclarity.restoration.io import open_stack

    with open_stack(path, **reading) as pages:
        if len(pages) > 1:
            raise ValueError(f'{path} has {len(pages)} pages: save the one to be checked by itself')
        return next(iter(pages))


def _write(checks: list[FieldCheck], out: Path, pictures: bool) -> None:
    """After every field, so that nothing is lost when one stops half-way."""
    from mmclarity.restoration.inference import check_report as report

    write_text(out / 'check.md', report.markdown(checks), parents=True)
    write_json(out / 'check.json', report.as_json(checks))
    if pictures:
        report.draw(checks[-1], out / f'{checks[-1].name}.png')


def _tell(checks: list[FieldCheck], out: Path) -> None:
    from mmclarity.restoration.inference import check_report as report

    fidelity, particles = report.tables(checks)
    print(f'{fidelity}\n\nparticles a picture: invented / missed of those in the slow scan\n')
    print(f'{particles}\n')
    for check in checks:
        for line in report.remarks(check):
            print(line)
    for title in checks[0].rows:
        print(report.verdict(checks, title))
    print(f'written: {out}')


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
