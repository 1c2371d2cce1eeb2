"""Readers for test_child: of good files, and of the kinds that take their process with them."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError


def plain(path):
    """A little of everything that can be handed back."""
    texts = np.array([['a', 'longer'], ['', 'ö']], object)
    return dict(
        path=str(path),
        is_path=isinstance(path, Path),
        nothing=None,
        numbers=[1, 2.5, True],
        texts=texts,
        fixed=np.array(['ab', 'c']),
        columns=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        nested=[[np.arange(3)], [np.zeros((0, 4), np.complex64), np.float32(2) * np.ones(())]],
        objects=np.array([object(), 1], object),
        pid=os.getpid(),
    )


def crash(path):
    """A segmentation fault."""
    os.kill(os.getpid(), signal.SIGSEGV)


def circle(path):
    """No end."""
    while True:
        pass


def refuse(path):
    """An error of ours."""
    raise DataError(f'{path}: line 3 is odd')


def fail(path):
    """An error of a library, on two lines."""
    raise KeyError('what\nelse')


def lacking(path):
    """A module that is not there."""
    raise ModuleNotFoundError('install it')


def chatter(path):
    """Prints and warns."""
    print('printed by a library', flush=True)
    os.write(1, b'written by a C library\n')
    warnings.warn('odd, but read', stacklevel=1)
    return 'read'


def greedy(path):
    """An absurd size."""
    return np.ones(1 << 50)
