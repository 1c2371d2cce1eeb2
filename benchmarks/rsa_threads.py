"""What resampling gains from a second processor: 20 RDMs of 400 stimuli beside one.

    python benchmarks/rsa_threads.py

The sizes are those of SqueezeNet's ten layers, trained and untrained, beside one session of V4.
Each round runs on one processor and on all, in turn; the results must be equal.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from mmclarity.rsa import bootstrap, permutation_test
from timing import machine_line, measure, table


def on(cpus: set[int], work: Callable[[], np.ndarray]) -> np.ndarray:
    """The result of ``work`` on some processors, which threads that it starts keep to as well."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def tasks(args: argparse.Namespace) -> dict[str, Callable[[], np.ndarray]]:
    """What is timed, by name."""
    rng = np.random.default_rng(0)
    area = rng.random((1, args.stimuli * (args.stimuli - 1) // 2))
    models = area + rng.normal(size=(args.models, area.shape[1]))
    draws = args.draws
    drawn = partial(bootstrap, models, area, num_samples=draws, ceiling=False)
    return {
        f'{draws} bootstraps, spearman': lambda: drawn('spearman').samples,
        f'{draws} bootstraps, pearson': lambda: drawn('pearson').samples,
        f'{draws} permutations, spearman': partial(
            permutation_test, models, area, 'spearman', num_permutations=draws
        ),
    }


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--stimuli', type=int, default=400)
    parser.add_argument('--models', type=int, default=20)
    parser.add_argument('--draws', type=int, default=320)
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        print('rsa_threads.py: this process may use one processor only', file=sys.stderr)
        return 2
    rows = []
    for name, work in tasks(args).items():
        found: dict[str, np.ndarray] = {}

        def run(key: str, chosen: set[int], work: Callable = work) -> None:
            found[key] = on(chosen, work)  # noqa: B023  (called in this turn only)

        timed = measure(
            {
                'one': partial(run, 'one', {min(cpus)}),
                'all': partial(run, 'all', cpus),
            },
            args.rounds,
            torch.device('cpu'),
        )
        np.testing.assert_array_equal(found['one'], found['all'])
        one, many = (np.median(timed[key]['seconds']) for key in ('one', 'all'))
        rows.append([name, f'{one:.2f}', f'{many:.2f}', f'{one / many:.2f}'])
    print(f'{machine_line(torch.device("cpu"))}; {args.rounds} rounds, medians\n')
    print(table(['task', 'one processor, s', f'{len(cpus)} processors, s', 'gain'], rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
