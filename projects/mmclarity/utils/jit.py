"""Loops that numpy and torch have no quick words for, compiled by numba when first called."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numba


def compiled(function: Callable | None = None, **options: object) -> Callable:
    """``numba.njit`` that lets other threads run and keeps what it compiled on disk.

    Division by zero is numpy's: infinity or NaN, no error, and no check in the way of vector code.

    Where no folder can be written to (a read-only installation without a home), the function is
    compiled once a process, in seconds, instead of once a machine.

    Args:
        function: Of arrays and numbers.
        options: Further options of ``numba.njit``.
    """
    if function is None:
        return lambda given: compiled(given, **options)
    options = dict(nogil=True, error_model='numpy', **options)
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # 'cannot cache function ...: no locator available'
        if 'cannot cache' not in str(error):
            raise
        warnings.warn(
            f'{function.__name__} is compiled anew in every process, as no cache folder '
            'can be written to; set NUMBA_CACHE_DIR to one',
            stacklevel=2,
        )
        return numba.njit(**options)(function)
