"""Representational similarity beside rsatoolbox, in one run.

    python benchmarks/rsa.py --json benchmark.json

Parts: `rdm`, correlation RDMs of n stimuli x 43,264 units (the first convolution of AlexNet and
its pooling); `compare`, 8 x 15 RDMs by every method; `bootstrap`, 1000 resamplings of stimuli and
subjects of 8 models x 15 subjects x 92 stimuli, with noise ceilings. Contenders run in turn; the
table gives medians with quartiles and the largest difference of the results. rsatoolbox's
bootstrap is timed on fewer resamplings and scaled up.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from mmclarity.rsa import bootstrap, compare_rdms, compute_rdm
from mmclarity.utils.files import write_text
from timing import machine_line, measure, milliseconds, table

UNITS = 43264
METHODS = {
    'pearson': 'corr',
    'spearman': 'spearman',
    'kendall': 'tau-a',
    'rho-a': 'rho-a',
    'cosine': 'cosine',
}
OURS, PEER = 'mmclarity', 'rsatoolbox'
PARTS = ('rdm', 'compare', 'bootstrap')


def race(
    title: str, contenders: dict[str, Callable[[], np.ndarray]], repeats: int, scale: float = 1.0
) -> dict:
    """Time both; ``scale`` multiplies the peer's seconds."""
    results = {}
    timed = measure(
        {
            name: (lambda name=name, run=run: results.__setitem__(name, run()))
            for name, run in contenders.items()
        },
        repeats,
        torch.device('cpu'),
    )
    row = dict(task=title, **{name: timed[name]['seconds'] for name in contenders})
    if PEER in contenders:
        row[PEER] = [scale * s for s in row[PEER]]
        if scale == 1:
            row['difference'] = float(np.nanmax(np.abs(results[OURS] - results[PEER])))
    return row


def benchmark_rdm(sizes: list[int], repeats: int) -> list[dict]:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    rows = []
    for n in sizes:
        responses = np.random.default_rng(0).random((n, UNITS))
        rows.append(
            race(
                f'RDM, {n} x {UNITS:,}',
                {
                    OURS: lambda x=responses: compute_rdm(x),
                    PEER: lambda x=responses: calc_rdm(Dataset(x), 'correlation').dissimilarities[
                        0
                    ],
                },
                repeats if n < 2000 else 1,
            )
        )
    return rows


def benchmark_compare(sizes: list[int], repeats: int) -> list[dict]:
    from rsatoolbox.rdm import RDMs, compare

    rows, rng = [], np.random.default_rng(0)
    for n in sizes:
        models, subjects = (rng.random((count, n * (n - 1) // 2)) for count in (8, 15))
        a, b = RDMs(models), RDMs(subjects)
        for ours, peers in METHODS.items():
            rows.append(
                race(
                    f'{ours}, 8 x 15 RDMs of {n}',
                    {
                        OURS: lambda m=ours, a=models, b=subjects: compare_rdms(a, b, m),
                        PEER: lambda m=peers, a=a, b=b: compare(a, b, m),
                    },
                    repeats,
                )
            )
    return rows


def benchmark_bootstrap(samples: int, peer_samples: int, repeats: int) -> list[dict]:
    from rsatoolbox.inference import eval_bootstrap
    from rsatoolbox.model import ModelFixed
    from rsatoolbox.rdm import RDMs

    rng, rows = np.random.default_rng(0), []
    models, subjects = (rng.random((count, 92 * 91 // 2)) for count in (8, 15))
    fixed = [ModelFixed(f'm{i}', row) for i, row in enumerate(models)]
    for method in ('cosine', 'pearson', 'spearman'):
        rows.append(
            race(
                f'{samples} bootstraps, {method}',
                {
                    OURS: lambda m=method: bootstrap(models, subjects, m, 'both', samples).samples,
                    PEER: lambda m=method: (
                        eval_bootstrap(
                            fixed, RDMs(subjects), method=METHODS[m], N=peer_samples
                        ).evaluations
                    ),
                },
                repeats,
                samples / peer_samples,
            )
        )
    return rows


def rows_table(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        ratio = np.median(row[PEER]) / np.median(row[OURS])
        difference = f'{row["difference"]:.0e}' if 'difference' in row else 'n/a'
        lines.append(
            [
                row['task'],
                milliseconds(row[OURS]),
                milliseconds(row[PEER]),
                f'{ratio:.1f}',
                difference,
            ]
        )
    return table(['task', f'{OURS}, ms', f'{PEER}, ms', 'ratio', 'difference'], lines)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--part', choices=['all', *PARTS], default='all')
    parser.add_argument(
        '--stimuli',
        type=int,
        nargs='+',
        default=[92, 500, 2000],
        help='numbers of stimuli of the RDMs (at 2000 rsatoolbox takes a minute)',
    )
    parser.add_argument('--repeats', type=int, default=5, help='rounds that are timed')
    parser.add_argument('--json', type=Path, metavar='OUT', help='also write every timing there')
    parser.add_argument('--quick', action='store_true', help='small sizes, in seconds')
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error('--repeats must be positive')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    warnings.filterwarnings('ignore')
    try:
        import rsatoolbox.inference.evaluate as evaluate
    except ModuleNotFoundError:
        print(
            'rsa.py: rsatoolbox is not installed: `pip install -r requirements-dev.txt`',
            file=sys.stderr,
        )
        return 2
    evaluate.tqdm.trange = lambda n, *a, **k: range(n)  # no progress bars
    machine = machine_line(torch.device('cpu'))
    print(
        f'{machine}; numpy {np.__version__}; rsatoolbox {version("rsatoolbox")}; median '
        f'(quartiles) of {args.repeats} rounds\n'
    )
    rows: list[dict] = []
    if args.part in ('all', 'rdm'):
        rows += benchmark_rdm([30] if args.quick else args.stimuli, args.repeats)
    if args.part in ('all', 'compare'):
        rows += benchmark_compare([30] if args.quick else [92, 500], args.repeats)
    if args.part in ('all', 'bootstrap'):
        rows += benchmark_bootstrap(*((20, 2) if args.quick else (1000, 20)), repeats=args.repeats)
    print(rows_table(rows))
    if args.json:
        write_text(args.json, json.dumps(dict(machine=machine, rows=rows), indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
