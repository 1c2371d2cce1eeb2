"""Compiled loops: what they divide by, and machines that keep nothing."""

import math

import numba
import numpy as np
import pytest

from mmclarity.utils.jit import compiled

REFUSAL = "cannot cache function 'ratio': no locator available for file 'x.py'"


def ratio(a, b):
    return a / b


def test_division_by_zero_is_numpys():
    divide = compiled(ratio)
    assert divide(1.0, 0.0) == math.inf and math.isnan(divide(0.0, 0.0))


def test_options_reach_numba():
    assert compiled(fastmath={'reassoc'})(ratio).targetoptions['fastmath'] == {'reassoc'}


@pytest.fixture
def no_cache(monkeypatch):
    """numba where no folder can be written to."""
    njit = numba.njit

    def refuse(*args, cache=False, **options):
        def wrap(function):
            if cache:
                raise RuntimeError(REFUSAL)
            return njit(function, **options)

        return wrap

    monkeypatch.setattr(numba, 'njit', refuse)


def test_without_a_cache_it_is_compiled_all_the_same(no_cache):
    with pytest.warns(UserWarning, match='ratio is compiled anew.*NUMBA_CACHE_DIR'):
        assert compiled(ratio)(np.float32(3), np.float32(2)) == 1.5


def test_other_errors_are_not_hidden(monkeypatch):
    def broken(**options):
        raise RuntimeError('LLVM is missing')

    monkeypatch.setattr(numba, 'njit', broken)
    with pytest.raises(RuntimeError, match='LLVM'):
        compiled(ratio)
