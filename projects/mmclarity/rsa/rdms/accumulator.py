"""RDMs of stimuli that come block by block, of layers larger than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from mmclarity.utils.cpus import available_cpus, one_blas_thread

from .compute import (
    BLOCK_UNITS,
    REPEATED,
    _check_count,
    _matrix,
    check_metric,
    dissimilarity,
    exact_gram,
)
from .memory import Slabs

# Units that are copied at a time, and of these how many are summed in float32 before the sum goes
# on in float64. Centred rectified layers repeat one value, minus their mean, whose products round
# the same way each time: sums of those are short (7e-7 at 256 units of SqueezeNet's features.9,
# 1e-7 at 64). As they are their zeros stay zeros, and long sums are better still (4e-8 at 1024).
CHUNK_UNITS, SHORT, LONG = 4096, 64, 1024
# Mean over standard deviation, squared, up to which rows need no centring: half a digit is lost.
SPREAD = 2.0
# Units that are looked at to foresee that.
SAMPLE = 2048
# Stimuli of one tile of products, which stays in the processor's cache.
TILE = 1024
# Entries of such a chunk at most: 16 MB a thread, however many stimuli there are.
CHUNK_ENTRIES = 1 << 22
# Bytes of sums (n, n) up to which threads have each their own: 2000 stimuli on two.
OWN_SUMS = 64 << 20
# Part of a response's size that centring in float32 may leave of a constant one.
ROUNDING = 1e-6
# Mean square below which products of float32 lose digits.
TINY = 1e-30


class RDMAccumulator:
    """An RDM of stimuli that come block by block, of layers larger than memory.

    Responses are kept in float32, beyond ``max_bytes`` in a temporary file, and multiplied at the
    end a few thousand units at a time: 10^3 stimuli of 10^6 units take 4 GB on disk and some 100
    MB of memory. Use it in a ``with`` statement, or call :meth:`close`.

    Args:
        metric: 'correlation', 'euclidean' or 'cosine'. Defaults to 'correlation'.
        spill_dir: Folder of the temporary file. Defaults to the system's.
        device: Where exact products are computed. Defaults to the CPU.
        max_bytes: Memory before the file is begun. Defaults to 1 GiB.
        exact: Whether products are taken in float64. Else responses are centred and multiplied in
            float32, which is five times as fast, and summed in float64 over 64 units at a time:
            within 1e-6 of the exact RDM (correlation and cosine; euclidean relative to the largest
            distance). Defaults to True.
        memory: Where responses are kept, in the place of ``max_bytes``; shared by the layers of a
            network, and with the next network.

    Raises:
        ValueError: If the metric needs repetitions or is unknown.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import RDMAccumulator
        >>> from mmclarity.rsa import compute_rdm
        >>> responses = np.random.default_rng(0).normal(size=(6, 50))
        >>> with RDMAccumulator() as rdm:
        ...     for block in (responses[:4], responses[4:]):
        ...         rdm.update(block)
        ...     bool(np.allclose(rdm.result(), compute_rdm(responses)))
        True
    """

    def __init__(
        self,
        metric: str = 'correlation',
        spill_dir: str | None = None,
        device: torch.device | str | None = None,
        max_bytes: int = 1 << 30,
        exact: bool = True,
        memory: Slabs | None = None,
    ) -> None:
        check_metric(metric)
        if metric in REPEATED:
            raise ValueError(f'{metric} needs all repetitions at once; use compute_rdm')
        self.metric, self.spill_dir, self.device = metric, spill_dir, device or 'cpu'
        self.exact, self.memory = exact, memory or Slabs(max_bytes)
        self._shared = memory is not None
        self._blocks: list[Tensor] = []
        self._file: IO[bytes] | None = None
        self._count, self._units = 0, None

    def update(self, block: Any) -> None:
        """Add responses (b, units, ...) to the next b stimuli; they are copied."""
        block = _matrix(block)
        rows = block if isinstance(block, Tensor) else torch.from_numpy(_native(block))
        if self._units is None:
            self._units = rows.shape[1]
        if rows.shape[1] != self._units:
            raise ValueError(
                f'a block of {rows.shape[1]} units after blocks of {self._units}; '
                'all stimuli must be shown in one size'
            )
        self._count += len(rows)
        kept = None if self._file else self.memory.take(*rows.shape)
        if kept is not None:
            self._blocks.append(kept.copy_(rows))
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115  (closed by close())
                dir=self.spill_dir, prefix='rdm_'
            )
            for waiting in self._blocks:
                self._file.write(waiting.numpy().data)
            self._drop()
            if not self._shared:
                self.memory.clear()
        self._file.write(rows.to('cpu', torch.float32).contiguous().numpy().data)

    @property
    def count(self) -> int:
        """Stimuli so far."""
        return self._count

    def bytes_for(self, count: int) -> int:
        """What the responses of so many stimuli take; 0 before the first block."""
        return 4 * count * (self._units or 0)

    def result(self, names: Sequence[str] | None = None) -> np.ndarray:
        """The condensed RDM of all stimuli so far; see :func:`compute_rdm`."""
        _check_count(self._count, names)
        if self._file is None and not self._blocks:
            raise ValueError('the accumulator is closed; ask for the result before')
        units = self._units or 0
        if self._file is None:
            responses: Any = _Rows(self._blocks)
        else:
            self._file.flush()
            file: Any = self._file
            responses = np.memmap(file, np.float32, 'r', shape=(self._count, units))
        if not self.exact:
            gram = single_gram(responses, self.metric)
            if gram is not None:
                constant = np.zeros(self._count, bool)
                return dissimilarity(gram, constant, self.metric, units, names)
        gram, constant = exact_gram(
            responses, self.metric, torch.device(self.device), BLOCK_UNITS, names
        )
        return dissimilarity(gram, constant, self.metric, units, names)

    def _drop(self) -> None:
        for block in self._blocks:
            self.memory.give(block)
        self._blocks = []

    def close(self) -> None:
        """Drop the responses and the temporary file."""
        self._drop()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> RDMAccumulator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _native(block: np.ndarray) -> np.ndarray:
    """In the machine's byte order and of a type that PyTorch has."""
    return np.array(block, np.float32)


class _Rows:
    """Blocks of stimuli as one array (n, units) of which columns are asked for."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = [block.numpy() for block in blocks]
        self.shape = (sum(map(len, self.blocks)), self.blocks[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        return np.concatenate([block[index] for block in self.blocks])


def _row_means(matrix: _Rows | np.ndarray) -> np.ndarray:
    """(n, 1), float32."""
    blocks = matrix.blocks if isinstance(matrix, _Rows) else [row[None] for row in matrix]
    return np.concatenate([block.mean(1, keepdims=True) for block in blocks])


def single_gram(matrix: _Rows | np.ndarray, metric: str) -> np.ndarray | None:
    """Inner products (n, n) in float32 over a few units at a time, summed in float64.

    Rows that spread widely about their mean are multiplied as they are, and their means are taken
    out of the sum at the end; others are centred first.

    Returns:
        float64; None where float32 does not do: values that are not finite or whose squares are
        not, and responses that are constant but for rounding.
    """
    if metric != 'euclidean':
        step = max(1, matrix.shape[1] // SAMPLE)
        seen = matrix[:, ::step].astype(np.float64)
        with np.errstate(over='ignore', invalid='ignore'):
            spread = (seen.mean(1) ** 2 <= SPREAD * seen.var(1)).all()
        gram = _plain_gram(matrix, metric) if spread else None
        if gram is not None:
            return gram
    return _centred_gram(matrix, metric)


def _plain_gram(matrix: _Rows | np.ndarray, metric: str) -> np.ndarray | None:
    """:func:`single_gram` without centring; None also where the sample of units was misleading."""
    units = matrix.shape[1]
    gram, sums = _summed(matrix, LONG, lambda part: (part, part.sum(1)))
    with np.errstate(over='ignore', invalid='ignore'):
        lost = sums**2 / units
        squares = np.diag(gram) - lost
        if not (np.isfinite(gram).all() and (squares > TINY * units).all()):
            return None
        if (lost > SPREAD * squares).any():
            return None
    if metric == 'correlation':
        for row, own in zip(gram, sums):  # at once it would take another square
            row -= own * (sums / units)
    return gram


def _centred_gram(matrix: _Rows | np.ndarray, metric: str) -> np.ndarray | None:
    """:func:`single_gram` of rows that are centred by their float32 mean (correlation).

    Its own rounding is taken out of the sum at the end:
    sum (x - m)(y - k) = sum (x - a)(y - b) - units (m - a)(k - b).
    """
    count, units = matrix.shape
    means = _row_means(matrix) if metric == 'correlation' else np.zeros((count, 1), np.float32)

    def centred(part: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        if metric == 'correlation':
            part = part - means
            return part, part.sum(1)
        # Distances do not change, but digits lost to |a|^2 + |b|^2 - 2 a b do.
        return (part - part.mean(0) if metric == 'euclidean' else part), 0.0

    gram, rest = _summed(matrix, SHORT, centred)
    with np.errstate(over='ignore', invalid='ignore'):
        for row, left in zip(gram, rest):
            row -= left * (rest / units)
    squares = np.diag(gram)
    floor = units * np.maximum((ROUNDING * np.abs(means[:, 0].astype(np.float64))) ** 2, TINY)
    if not np.isfinite(gram).all() or (metric != 'euclidean' and (squares <= floor).any()):
        return None
    return gram


# A chunk (n, u) to what is multiplied and what is summed (n,).
Centre = Callable[[np.ndarray], 'tuple[np.ndarray, np.ndarray | float]']


def _summed(
    matrix: _Rows | np.ndarray, length: int, centre: Centre
) -> tuple[np.ndarray, np.ndarray]:
    """Products (n, n) of all chunks, ``length`` units at a time, and sums (n,); on all cores."""
    count, units = matrix.shape
    tiles = [slice(start, start + TILE) for start in range(0, count, TILE)]
    pairs = [(rows, columns) for i, rows in enumerate(tiles) for columns in tiles[: i + 1]]
    step = SHORT * max(1, min(CHUNK_UNITS, CHUNK_ENTRIES // count) // SHORT)
    chunks = [slice(start, start + step) for start in range(0, units, step)]
    workers = available_cpus()
    if 8 * count**2 * workers <= OWN_SUMS:  # each thread has some units, and sums of its own
        shares = [(chunks[k::workers], pairs, np.zeros((count, count))) for k in range(workers)]
    else:  # each has some tiles of the one sum
        gram = np.zeros((count, count))
        shares = [(chunks, pairs[k::workers], gram) for k in range(workers)]
    with one_blas_thread() if workers > 1 else nullcontext(), ThreadPoolExecutor(workers) as pool:
        rests = list(pool.map(lambda share: _add_chunks(matrix, length, centre, *share), shares))
    gram, rest = shares[0][2], rests[0]
    for (_, _, more), left in zip(shares[1:], rests[1:]):
        if more is not gram:
            gram += more
            rest = rest + left
    for rows, columns in pairs:
        if rows != columns:
            gram[columns, rows] = gram[rows, columns].T
    return gram, rest


def _add_chunks(
    matrix: _Rows | np.ndarray,
    length: int,
    centre: Centre,
    chunks: Sequence[slice],
    pairs: Sequence[tuple[slice, slice]],
    gram: np.ndarray,
) -> np.ndarray:
    """Add products of chunks of the units to tiles of ``gram``; sums that are left (n,)."""
    rest = np.zeros(len(matrix))
    with np.errstate(over='ignore', invalid='ignore'):
        for columns in chunks:
            part, left = centre(matrix[:, columns])
            rest += left
            for first, second in pairs:
                _add_products(gram[first, second], part[first], part[second], length)
    return rest


def _add_products(total: np.ndarray, first: np.ndarray, second: np.ndarray, length: int) -> None:
    """``total += first @ second.T``; numpy computes half where both are the same memory."""
    products = np.empty(total.shape, np.float32)
    for start in range(0, first.shape[1], length):
        columns = slice(start, start + length)
        total += np.matmul(first[:, columns], second[:, columns].T, out=products)
