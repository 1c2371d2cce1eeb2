"""Console commands whose modules need OpenMMLab as soon as they are imported.

A plain ``pip install mmclarity`` brings RSA alone: there they say in one line what to install.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from .main import finish


def train(argv: Sequence[str] | None = None) -> int:
    """``mmclarity-train``: see :mod:`mmclarity.cli.train`."""
    return _start('train', argv)


def test(argv: Sequence[str] | None = None) -> int:
    """``mmclarity-test``: see :mod:`mmclarity.cli.test`."""
    return _start('test', argv)


test.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


def _start(name: str, argv: Sequence[str] | None) -> int:
    modules = []

    def load(_: argparse.Namespace) -> None:
        modules.append(import_module(f'.{name}', __package__))

    status = finish(load, argparse.Namespace(), f'mmclarity-{name}')
    return status or modules[0].main(argv)
