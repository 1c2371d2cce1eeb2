"""Names of files as text: those of old disks, or under a poor locale, are none."""

from __future__ import annotations

import os

__all__ = ['as_text', 'on_disk']


def as_text(name: str) -> str:
    r"""A name as tables and figures have it: UTF-8, whatever the system takes names for.

    Bytes that are no UTF-8 are told as ``\xe9``.

    Args:
        name: Of a file or path, or from the command line, as Python got it from the system.

    Examples:
        >>> as_text('Präparat.tif')
        'Präparat.tif'
        >>> print(as_text('caf\udce9.tif'))
        caf\xe9.tif
    """
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def on_disk(text: str) -> str:
    """What :func:`as_text` made text of, as the system has it: the same bytes."""
    return os.fsdecode(text.encode('utf-8', 'backslashreplace'))
