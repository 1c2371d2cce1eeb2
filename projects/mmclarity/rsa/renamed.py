"""Old names that users may have written, with a word about the new ones."""

from __future__ import annotations

import warnings
from typing import Any


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Give the DeprecationWarning of an old name."""
    warnings.warn(f'{old} is now called {new}', DeprecationWarning, stacklevel=stacklevel)


def renamed(old: str, new: str) -> Any:
    """A property that reads and sets the attribute ``new`` under its old name."""

    def read(self: Any) -> Any:
        warn_renamed(old, new)
        return getattr(self, new)

    def write(self: Any, value: Any) -> None:
        warn_renamed(old, new)
        setattr(self, new, value)

    return property(read, write, doc=f'Old name of ``{new}``.')
