"""Real images and recordings that some tests read and the project does not ship.

They lie in the folder that ``MMCLARITY_TEST_DATA`` names; by default ``shared/data`` beside the
clone. A test that needs some is marked with :func:`needs`, and skips with the reason without it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = 'MMCLARITY_TEST_DATA'
DATA = Path(
    os.environ.get(VARIABLE) or Path(__file__).resolve().parents[2] / 'shared/data'
).expanduser()


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these files or folders is not in the data folder."""
    missing = [name for name in names if not (DATA / name).exists()]
    return pytest.mark.skipif(
        bool(missing),
        reason=f'no {", ".join(missing)} in {DATA}; {VARIABLE} names another folder',
    )
