"""Time and memory of RDMs of many stimuli, and of comparing them.

    python benchmarks/rsa_scale.py --stimuli 10000 --units 43264

Responses are random and made in blocks of 100 stimuli, as a network would give them.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from mmclarity.rsa import RDMAccumulator, compare_rdms


def peak() -> float:
    """GB of memory in use at most since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--stimuli', type=int, default=10_000)
    parser.add_argument('--units', type=int, default=43_264)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with RDMAccumulator(exact=False) as accumulator:
        for start in range(0, args.stimuli, 100):
            count = min(100, args.stimuli - start)
            accumulator.update(rng.standard_normal((count, args.units), np.float32))
        begin, used = time.perf_counter(), time.process_time()
        rdm = accumulator.result()
    print(
        f'RDM of {args.stimuli} x {args.units}: {time.perf_counter() - begin:.1f} s, '
        f'{time.process_time() - used:.1f} s of processors, peak {peak():.2f} GB',
        flush=True,
    )
    other = rdm + rng.standard_normal(len(rdm), np.float32)
    for method in ('pearson', 'spearman'):
        begin, used = time.perf_counter(), time.process_time()
        score = compare_rdms(rdm, other, method)[0, 0]
        print(
            f'{method} of {len(rdm):,} pairs: {score:.4f}, {time.perf_counter() - begin:.1f} s, '
            f'{time.process_time() - used:.1f} s of processors, peak {peak():.2f} GB',
            flush=True,
        )


if __name__ == '__main__':
    main()
