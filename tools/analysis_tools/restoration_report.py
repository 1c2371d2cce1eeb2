"""Judge restorers on pairs of images: one table, and pictures with false and missed particles.

    python tools/analysis_tools/restoration_report.py --data configs/ssim_unet_sem.py \\
        --model 'SSIM U-net=configs/ssim_unet_sem.py:work_dirs/seed_0/last.pth' ... --out OUT

The pairs are those of the config's test_dataloader. A name given several times is one row, mean and
standard deviation over its seeds. Rows of classical filters: --classical (BM3D where the package
bm3d is installed); each with the setting that is best on the first two pairs, which favours them.
The general network: --general 'NAME=WEIGHTS', or 'NAME=' for the weights of the package, and
--sharpened alike. What another program restored: --export-low, then --restored 'NAME=FOLDER' (see
benchmarks/careamics_n2v.py). --results joins the rows of earlier runs to the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scipy.ndimage import gaussian_filter

from mmclarity.cli.main import finish
from mmclarity.cli.options import ConfigOptions
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from mmclarity.utils.files import replacing, write_text
from mmclarity.utils.tables import replace_part

if TYPE_CHECKING:
    from mmclarity.restoration.evaluation.report import RestorationReport

# Standard deviations in units of white that filters are tried with; the best PSNR is shown.
GAUSSIAN, STRENGTHS = (1.0, 1.5, 2.0, 2.5), (0.06, 0.08, 0.1, 0.12, 0.15)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='config with the pairs')
    parser.add_argument(
        '--model',
        action='append',
        default=[],
        metavar='NAME=CONFIG:CHECKPOINT',
        help='repeatable; checkpoints joined by commas are an ensemble',
    )
    parser.add_argument(
        '--general',
        action='append',
        default=[],
        metavar='NAME=[WEIGHTS]',
        help='repeatable; the general network, of the package if no weights are named',
    )
    parser.add_argument(
        '--sharpened',
        action='append',
        default=[],
        metavar='NAME=[WEIGHTS]',
        help='repeatable; as --general, sharpened',
    )
    parser.add_argument(
        '--slow-levels', action='store_true', help='of the general network, as mmclarity-restore'
    )
    parser.add_argument(
        '--restored', action='append', default=[], metavar='NAME=FOLDER', help='repeatable; .npy'
    )
    parser.add_argument('--export-low', type=Path, help='only write the noisy images as .npy there')
    parser.add_argument(
        '--results', type=Path, nargs='*', default=[], help='results.json of earlier runs'
    )
    parser.add_argument('--page', type=Path, help='Markdown page: its table is replaced')
    parser.add_argument('--classical', action='store_true', help='also filters')
    parser.add_argument('--limit', type=int, help='only the first pairs')
    parser.add_argument('--picture', type=int, default=0, help='pair that is shown')
    parser.add_argument('--window', type=int, nargs=4, metavar=('TOP', 'LEFT', 'HEIGHT', 'WIDTH'))
    parser.add_argument('--out', type=Path, default=Path('work_dirs/restoration_report'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={})
    return parser.parse_args(argv)


def load_pairs(config: Config, limit: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Registered (low, reference) images in [0, 1] of the config's test set."""
    from mmagic.registry import DATASETS

    dataset = DATASETS.build({**config.test_dataloader.dataset, 'pipeline': []})
    indices = range(len(dataset) if limit is None else min(limit, len(dataset)))
    return [
        tuple(dataset[i][key][..., 0] / np.float32(255) for key in ('img', 'gt')) for i in indices
    ]


def classical_filters() -> dict[str, list[tuple[str, Callable]]]:
    """Filters by name, each with several settings."""
    from skimage.restoration import denoise_nl_means

    filters: dict[str, list[tuple[str, Callable]]] = {
        'raw': [('', lambda image: image)],
        'Gaussian': [
            (f'sigma {s}', lambda image, s=s: gaussian_filter(image, s)) for s in GAUSSIAN
        ],
        'non-local means': [
            (
                f'h {h}',
                lambda image, h=h: denoise_nl_means(image, patch_size=7, patch_distance=9, h=h),
            )
            for h in STRENGTHS
        ],
    }
    try:
        from bm3d import bm3d
    except ImportError:
        print('bm3d is not installed: no BM3D row')
    else:
        filters['BM3D'] = [
            (f'sigma {s}', lambda image, s=s: np.clip(bm3d(image, s), 0, 1)) for s in STRENGTHS
        ]
    return filters


def best_setting(settings: list[tuple[str, Callable]], pairs: list) -> tuple[str, Callable]:
    """The setting of highest PSNR on a few pairs: the most favourable choice for a filter."""
    from mmclarity.restoration.evaluation import fidelity

    if len(settings) == 1:
        return settings[0]
    return max(
        settings,
        key=lambda setting: np.mean(
            [fidelity(setting[1](low), high)['psnr'] for low, high, *_ in pairs[:2]]
        ),
    )


class Folder:
    """What another program made of the noisy images, given back one after the other."""

    def __init__(self, folder: Path) -> None:
        self.paths = iter(sorted(folder.glob('*.npy')))

    def __call__(self, low: np.ndarray) -> np.ndarray:
        """The next image.

        Args:
            low: the noisy one, whose size it must have.
        """
        path = next(self.paths, None)
        if path is None:
            raise UsageError('there are fewer restored images than pairs; restore all of them')
        image = np.load(path)
        if image.shape != low.shape:
            raise UsageError(f'{path}: is {image.shape}, its noisy image {low.shape}')
        return image


def export(pairs: list[tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    """Writes the noisy images for another program."""
    for index, (low, _) in enumerate(pairs):
        with replacing(folder / f'{index:03d}.npy', parents=True) as part, part.open('wb') as file:
            np.save(file, low)
    print(f'{len(pairs)} noisy images written to {folder}')


def judge_general(
    report: RestorationReport, text: str, args: argparse.Namespace, sharpen: float = 0.0
) -> None:
    """One row of the general network; how right its doubts are: tools/fit_doubts.py."""
    from mmclarity.restoration import Restorer

    name, _, weights = text.partition('=')
    options = dict(sharpen=sharpen, slow_levels=args.slow_levels)
    restorer = Restorer(checkpoint=weights or None, **options)
    report.add(name, lambda low: restorer(low, data_range=1.0), args.picture)


def judge(args: argparse.Namespace) -> None:
    """Restore the pairs with each model; print and write the table and pictures."""
    from mmclarity.restoration import Restorer
    from mmclarity.restoration.evaluation.report import ALL_COLUMNS, Entry, RestorationReport

    config = load_config(args.data, args.cfg_options)
    init_default_scope('mmagic')
    if args.export_low:
        return export(load_pairs(config, args.limit), args.export_low)
    report = RestorationReport(load_pairs(config, args.limit))
    print(f'{len(report.pairs)} pairs', flush=True)
    for path in args.results:
        for name, seeds in json.loads(path.read_text(encoding='utf-8')).items():
            report.entries[name] = Entry(name, seeds)
    if args.classical:
        for name, settings in classical_filters().items():
            label, restore = best_setting(settings, report.pairs)
            report.add(f'{name} {label}'.strip(), restore, args.picture)
            print(name, label, 'done', flush=True)
    for text in args.general:
        judge_general(report, text, args)
    for text in args.sharpened:
        judge_general(report, text, args, sharpen=1.0)
    for text in args.restored:
        name, _, folder = text.partition('=')
        report.add(name, Folder(Path(folder)), args.picture)
    for text in args.model:
        name, _, rest = text.partition('=')
        path, _, checkpoints = rest.partition(':')
        if not checkpoints:
            raise UsageError(f'--model wants NAME=CONFIG:CHECKPOINT, got {text!r}')
        restorer = Restorer(path, checkpoints.split(','), tile=4096)
        found = report.add(name, lambda image, r=restorer: r(image, data_range=1.0), args.picture)
        print(
            name,
            {
                key: round(found[key], 3)
                for key in ('psnr', 'ssim', 'fabricated', 'missed', 'blur', 'frc')
            },
            flush=True,
        )
    write_text(args.out / 'table.md', report.markdown(ALL_COLUMNS) + '\n', parents=True)
    seeds = {entry.name: entry.seeds for entry in report.entries.values()}
    write_text(args.out / 'results.json', json.dumps(seeds, indent=1))
    if args.page:
        replace_part(args.page, 'table', report.markdown(ALL_COLUMNS))
    if not report.shown:
        print(f'written to {args.out}')
        return
    top, left, height, width = args.window or (0, 0, *report.pairs[args.picture][0].shape)
    report.figure(
        args.out / 'pictures.png',
        picture=args.picture,
        window=(slice(top, top + height), slice(left, left + width)),
    )
    print(report.markdown())
    print(f'written to {args.out}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(judge, parse_args(argv), 'restoration_report.py')


if __name__ == '__main__':
    sys.exit(main())
