"""Dissimilarity matrices (RDMs) of responses to stimuli."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .noise import noise_precision
from .pairs import unmasked

METRICS = ('correlation', 'euclidean', 'cosine', 'mahalanobis', 'crossnobis')
REPEATED = ('mahalanobis', 'crossnobis')
# Units of one product: the float64 copy of a thousand stimuli takes 64 MB.
BLOCK_UNITS = 8192
# Stimuli of one strip of products, and entries of a block of more stimuli: 64 MB.
LARGE, BLOCK_ENTRIES = 2048, 1 << 23
# Dissimilarities are whole multiples of this part of what they may be at most (some 2e-13):
# rounding makes equal ones differ by 2e-16, and ranks would take that for an order.
GRAIN = 2.0**-42


class UndefinedRDMError(ValueError):
    """Responses that have no RDM: constant, NaN, infinite, or of squares that are infinite."""


def compute_rdm(
    responses: Any,
    metric: str = 'correlation',
    *,
    precision: np.ndarray | None = None,
    shrinkage: str = 'diag',
    device: torch.device | str | None = None,
    block_units: int = BLOCK_UNITS,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    r"""Dissimilarity of each pair of stimuli.

    - ``correlation``: 1 - Pearson's r over the units.
    - ``euclidean``: squared distance divided by the number of units.
    - ``cosine``: 1 - cosine of the angle, not centred.
    - ``mahalanobis``: :math:`d^T \Sigma^{-1} d` / units, of the mean over repetitions.
    - ``crossnobis``: the same with the two differences d from disjoint repetitions, leaving one
      out (Walther et al., NeuroImage 2016): zero on average where there is no difference, and so
      sometimes negative. Where the noise is estimated, it is from the repetitions beside the one
      that is left out: from the same ones its inverse fits the differences, and equal stimuli
      seem to differ. (All distances are then too great by one amount, which correlations of RDMs
      do not see: ``precision=noise_precision(responses)`` does that, and varies less where there
      are three repetitions.)

    Units are those of rsatoolbox. Products are taken in float64 whatever the responses are stored
    in, block by block of the units. Dissimilarities that are equal but for rounding (of pairs of
    duplicates, categories, few units) are equal.

    Args:
        responses: (n, units, ...) array, tensor or memory map of n >= 3 stimuli; (repetitions, n,
            units) for mahalanobis and crossnobis; or an iterator of blocks (b, units, ...) of
            consecutive stimuli. A list whose items have one shape holds one stimulus each, one of
            different shapes holds blocks.
        metric: One of :data:`METRICS`. Defaults to 'correlation'.
        precision: Inverse noise covariance (units, units) of the last two.
            Defaults to the estimate of :func:`noise_precision` from the repetitions; for crossnobis
            of three or more, from those beside the one that is left out.
        shrinkage: How that estimate is regularised: 'diag' or 'eye'. Defaults to 'diag'.
        device: Where products are computed. Defaults to where the responses are.
        block_units: Units taken at a time. Defaults to 8192.
        names: Of the stimuli, for messages.

    Returns:
        Condensed (n (n - 1) / 2,), float64.

    Raises:
        ValueError: If there are fewer than 3 stimuli, a response is constant (correlation), zero
            (cosine), NaN or infinite, shapes do not fit, or the metric is unknown.
        TypeError: If the responses are not real numbers.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import compute_rdm
        >>> responses = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])
        >>> compute_rdm(responses).round(6)
        array([0., 2., 2.])
    """
    check_metric(metric)
    if metric in REPEATED:
        return _noise_normalised(responses, metric, precision, shrinkage, names)
    if precision is not None:
        raise ValueError(f'precision is for {" and ".join(REPEATED)}, not for {metric}')
    if (
        isinstance(responses, list | tuple)
        and len({np.shape(item) for item in responses if hasattr(item, 'shape')}) > 1
    ):
        # No stack of single stimuli: blocks, as from an iterator, that are in memory already.
        responses = _joined(responses)
    if not hasattr(responses, '__iter__'):
        raise TypeError(
            'responses must be an array, a tensor or blocks of them, got '
            f'{type(responses).__name__}'
        )
    if not hasattr(responses, 'shape') and not isinstance(responses, list | tuple | str):
        from .accumulator import RDMAccumulator

        with RDMAccumulator(metric, device=device) as accumulator:
            for block in responses:
                accumulator.update(block)
            return accumulator.result(names)
    matrix = _matrix(responses)
    _check_count(len(matrix), names)
    device = torch.device(device or (matrix.device if isinstance(matrix, Tensor) else 'cpu'))
    gram, flat = exact_gram(matrix, metric, device, block_units, names)
    return dissimilarity(gram, flat, metric, matrix.shape[1], names)


def check_metric(metric: str) -> None:
    """Raise a ValueError unless the metric is one of :data:`METRICS`."""
    if metric not in METRICS:
        raise ValueError(f'metric {metric!r} is unknown; choose one of {", ".join(METRICS)}')


def _name(index: int, names: Sequence[str] | None) -> str:
    return f'stimulus {index}' if names is None else f'stimulus {names[index]!r}'


def _check_count(count: int, names: Sequence[str] | None = None) -> None:
    if count < 3:
        raise ValueError(f'responses to {count} stimuli; an RDM needs at least 3')
    if names is not None and len(names) != count:
        raise ValueError(f'{len(names)} names for responses to {count} stimuli; give one each')


def _joined(blocks: Sequence[Any]) -> np.ndarray:
    """Blocks (b, units, ...) one after another."""
    parts = [_numpy(_matrix(block)) for block in blocks]
    units = {part.shape[1] for part in parts}
    if len(units) > 1:
        raise ValueError(f'blocks of {sorted(units)} units; all stimuli must be shown in one size')
    return np.concatenate(parts)


def _matrix(responses: Any) -> np.ndarray | Tensor:
    """(n, units), real."""
    tensor = isinstance(responses, Tensor)
    responses = responses.detach() if tensor else unmasked(np.asanyarray(responses))
    real = (
        (not responses.is_complex() and responses.dtype != torch.bool)
        if tensor
        else responses.dtype.kind in 'fiu'
    )
    if not real:
        raise TypeError(f'responses must hold real numbers, got {responses.dtype}')
    shape = tuple(responses.shape)
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f'responses must have shape (stimuli, units, ...), got {shape}')
    return responses.reshape(shape[0], math.prod(shape[1:]))


def _block(
    matrix: np.ndarray | Tensor, columns: slice, device: torch.device, names: Sequence[str] | None
) -> np.ndarray | Tensor:
    """Some units of all stimuli in float64: numpy on the CPU, whose A A^T takes half the time."""
    part = matrix[:, columns]
    if device.type == 'cpu':
        part = part.double().cpu().numpy() if isinstance(part, Tensor) else part
        part = np.array(part, np.float64)
        finite = np.isfinite(part).all(1)
    else:
        part = torch.as_tensor(part).to(device, torch.float64, copy=True)
        finite = part.isfinite().all(1).cpu().numpy()
    if not finite.all():
        raise UndefinedRDMError(
            f'the response to {_name(int((~finite).argmax()), names)} holds NaN or '
            'infinite values; leave the stimulus or the units out'
        )
    return part


def exact_gram(
    matrix: np.ndarray | Tensor,
    metric: str,
    device: torch.device,
    block_units: int,
    names: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Inner products (n, n) of the rows, centred as the metric wants, and which are constant."""
    count, units = matrix.shape
    if count > LARGE:
        block_units = max(64, min(block_units, BLOCK_ENTRIES // count))
    blocks = [slice(start, start + block_units) for start in range(0, units, block_units)]
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    sums = np.zeros(count)
    single = _block(matrix, blocks[0], device, names) if len(blocks) == 1 else None
    if metric == 'correlation':
        for columns in blocks:
            part = single if single is not None else _block(matrix, columns, device, names)
            sums += _numpy(part.sum(1))
            low = np.minimum(low, _numpy(part.amin(1) if isinstance(part, Tensor) else part.min(1)))
            high = np.maximum(
                high, _numpy(part.amax(1) if isinstance(part, Tensor) else part.max(1))
            )
    gram = (
        np.zeros((count, count))
        if device.type == 'cpu'
        else torch.zeros(count, count, dtype=torch.float64, device=device)
    )
    means = sums[:, None] / units
    for columns in blocks:
        part = single if single is not None else _block(matrix, columns, device, names)
        if metric == 'correlation':
            part -= means if device.type == 'cpu' else torch.as_tensor(means, device=device)
        elif metric == 'euclidean':
            # Distances do not change, but digits lost to |a|^2 + |b|^2 - 2 a b do.
            part -= part.mean(0)
        _add_products(gram, part)
    return _numpy(gram), low == high


def _add_products(gram: np.ndarray | Tensor, part: np.ndarray | Tensor) -> None:
    """``gram += part @ part.T``; of many stimuli strip by strip, as the product is a square too."""
    for start in range(0, len(gram), LARGE):
        rows = slice(start, start + LARGE)
        gram[rows] += part[rows] @ part.T


def _numpy(values: np.ndarray | Tensor) -> np.ndarray:
    if not isinstance(values, Tensor):
        return values
    # numpy has no bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).cpu().numpy()


def dissimilarity(
    gram: np.ndarray, constant: np.ndarray, metric: str, units: int, names: Sequence[str] | None
) -> np.ndarray:
    """Condensed dissimilarities of inner products (n, n), row by row: no second square is made."""
    squares = np.diag(gram).copy()
    greatest = float(squares.max(initial=0))
    if not math.isfinite(4 * greatest):
        raise UndefinedRDMError(
            f'the response to {_name(int(squares.argmax()), names)} is so large that its square '
            'is not finite; were its bytes read in the wrong order?'
        )
    grain = GRAIN
    if metric == 'euclidean':
        grain *= 2.0 ** math.frexp(4 * greatest / units)[1]

        def row(i: int) -> np.ndarray:
            return np.maximum(squares[i] + squares[i + 1 :] - 2 * gram[i, i + 1 :], 0) / units
    else:
        undefined = constant | (squares <= 0) if metric == 'correlation' else squares == 0
        if undefined.any():
            what = 'constant' if metric == 'correlation' else 'zero (constant) in all units'
            others = f' ({int(undefined.sum())} such stimuli)' if undefined.sum() > 1 else ''
            raise UndefinedRDMError(
                f'the response to {_name(int(undefined.argmax()), names)} is {what}'
                f'{others}: its {metric} dissimilarity is undefined. Leave it out, '
                "choose other units, or use metric='euclidean' (--metric, --neural-metric)"
            )
        norm = np.sqrt(squares)

        def row(i: int) -> np.ndarray:
            return 1 - gram[i, i + 1 :] / norm[i] / norm[i + 1 :]

    found, start = np.empty(len(gram) * (len(gram) - 1) // 2), 0
    for i in range(len(gram) - 1):
        stop = start + len(gram) - 1 - i
        found[start:stop] = np.rint(row(i) / grain) * grain if grain else row(i)
        start = stop
    found += 0.0  # of a zero below zero one above it
    return found


def _condensed(square: np.ndarray) -> np.ndarray:
    return square[np.triu_indices(len(square), 1)]


def _noise_normalised(
    responses: Any,
    metric: str,
    precision: np.ndarray | None,
    shrinkage: str,
    names: Sequence[str] | None,
) -> np.ndarray:
    """Mahalanobis and crossnobis of (repetitions, n, units)."""
    responses = _numpy(responses.detach()) if isinstance(responses, Tensor) else responses
    data = np.asarray(responses)
    if data.dtype.kind not in 'fiu':
        raise TypeError(f'responses must hold real numbers, got {data.dtype}')
    if data.ndim != 3 or 0 in data.shape:
        raise ValueError(
            f'{metric} needs repeated measurements (repetitions, stimuli, units), got '
            f'shape {data.shape}'
        )
    data = data.astype(np.float64)
    repetitions, count, units = data.shape
    _check_count(count, names)
    if not np.isfinite(data).all():
        bad = int(np.argwhere(~np.isfinite(data))[0][1])
        raise ValueError(
            f'the response to {_name(bad, names)} holds NaN or infinite values; leave '
            'the stimulus or the units out'
        )
    if metric == 'crossnobis' and repetitions < 2:
        raise ValueError('crossnobis needs 2 repetitions or more, got 1; use mahalanobis')
    if precision is not None:
        precision = np.asarray(precision, np.float64)
        if precision.shape != (units, units):
            raise ValueError(
                f'precision has shape {precision.shape}; with {units} units it must be '
                f'({units}, {units})'
            )
    total = data.sum(0)
    if metric == 'mahalanobis':
        inverse = noise_precision(data, shrinkage) if precision is None else precision
        kernel = total @ inverse @ total.T / repetitions**2
    else:
        # One repetition against the mean of the others, each in turn.
        inverses = _precisions(data, precision, shrinkage)
        kernel = sum(one @ inv @ (total - one).T for one, inv in zip(data, inverses))
        kernel /= repetitions * (repetitions - 1)
        kernel = (kernel + kernel.T) / 2
    squares = np.diag(kernel)
    return _condensed(squares[:, None] + squares - 2 * kernel) / units


def _precisions(data: np.ndarray, precision: np.ndarray | None, shrinkage: str) -> list[np.ndarray]:
    """For each repetition the inverse noise covariance that it is multiplied by."""
    if precision is not None:
        return [precision] * len(data)
    if len(data) == 2:
        warnings.warn(
            'crossnobis of 2 repetitions: the noise is estimated from the very differences that '
            'it weights, so that all distances are too great by one amount, and equal stimuli are '
            'not 0 apart on average; give 3 repetitions, or the precision from other data '
            '(precision_from_residuals)',
            stacklevel=4,
        )
        return [noise_precision(data, shrinkage)] * 2
    found = []
    for left_out in range(len(data)):
        try:
            found.append(noise_precision(np.delete(data, left_out, 0), shrinkage))
        except ValueError as error:
            raise ValueError(f'without repetition {left_out}: {error}') from error
    return found
