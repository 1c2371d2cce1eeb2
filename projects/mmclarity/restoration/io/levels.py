"""Grey levels of a picture: which value is black, which is white, and whether all lie between."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .stored import SEMImageError

__all__ = ['check_values', 'ends']

_FULL_SCALE = {'uint8': 255.0, 'uint16': 65535.0}
# Levels are computed with in 24 bits: of a range so many times that of the picture, it has no more
# than 10 left.
_FARTHEST, _LOOKED_AT = 2e4, 100_000
_KINDS = {'f': 'floating point', 'i': 'signed', 'u': '32 bit'}


def ends(
    path: Path | str, picture: np.ndarray, given: float | str | None
) -> tuple[float, float, bool]:
    """The values that mean black and white, and whether they were measured."""
    if given != 'measured':
        return 0.0, _data_range(path, picture.dtype, given), False
    if picture.dtype.name in _FULL_SCALE:
        return 0.0, _FULL_SCALE[picture.dtype.name], False
    _check_finite(path, picture)
    low, high = float(picture.min()), float(picture.max())
    _check_outliers(path, picture, low, high)
    return low, high if high > low else low + 1.0, True


def _check_outliers(path: Path | str, picture: np.ndarray, low: float, high: float) -> None:
    """Refuses a range of which the picture is so small a part that its levels would be lost."""
    some = picture.ravel()[:: max(1, picture.size // _LOOKED_AT)].astype(np.float64)
    dark, bright = np.quantile(some, (0.001, 0.999))
    if bright > dark and high - low > _FARTHEST * (bright - dark):
        value = low if dark - low > high - bright else high
        raise SEMImageError(
            f'{path}: its pixels lie between {dark:.4g} and {bright:.4g}, but for a few of '
            f'{value:.4g}, far outside of all others; replace them first (Fiji: Process > Noise > '
            'Remove Outliers)'
        )


def _data_range(path: Path | str, dtype: np.dtype, given: float | str | None) -> float:
    if isinstance(given, str):
        raise SEMImageError(f"{path}: data_range must be a number or 'measured', not {given!r}")
    if given is None:
        if dtype.name not in _FULL_SCALE:
            raise SEMImageError(
                f'{path}: {_KINDS.get(dtype.kind, dtype)} pixels have no white of their own: '
                'give data_range (--data-range), the value that means white'
            )
        return _FULL_SCALE[dtype.name]
    if not (np.isfinite(given) and given > 0):
        raise SEMImageError(f'{path}: data_range must be a positive number, not {given!r}')
    if dtype.kind in 'ui' and given > np.iinfo(dtype).max:
        raise SEMImageError(
            f'{path}: data_range={given:g} is more than {dtype.name} pixels can hold'
        )
    return float(given)


def _check_finite(path: Path | str, picture: np.ndarray) -> None:
    if picture.dtype.kind == 'f':
        bad = ~np.isfinite(picture)
        if bad.any():
            row, column = (int(i[0]) for i in np.nonzero(bad))
            raise SEMImageError(
                f'{path}: {int(bad.sum())} pixels of the picture are NaN or infinite,'
                f' the first at row {row}, column {column}; fill them '
                'first (Fiji: Process > Math > NaN Background)'
            )


def check_values(
    path: Path | str, picture: np.ndarray, black: float, data_range: float, allow_black: bool
) -> None:
    """Refuses NaN, infinite values, values outside of the range, and a picture that is black."""
    _check_finite(path, picture)
    low, high = float(picture.min()), float(picture.max())
    if low < black or high > data_range:
        raise SEMImageError(
            f'{path}: pixels go from {low:g} to {high:g}, outside 0 to data_range='
            f'{data_range:g}; give the data_range (--data-range) that fits, or rescale the image'
        )
    if high == low == 0 and not allow_black:
        raise SEMImageError(
            f'{path}: the picture is black, all of its pixels are 0; was the beam '
            'on? Remove the file (in Python, allow_black=True reads it)'
        )
