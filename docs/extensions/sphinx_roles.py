"""A griffe extension: ``:class:`~a.b.C` `` in docstrings becomes `` `C` `` on a Markdown page."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr|exc|obj):`(~?)([^`]+)`')


def as_markdown(text: str) -> str:
    """Docstring text with Sphinx's roles as plain code.

    >>> as_markdown('see :class:`~a.b.C` and :func:`d.e`')
    'see `C` and `d.e`'
    """
    return ROLE.sub(
        lambda match: f'`{match[2].rpartition(".")[2] if match[1] else match[2]}`', text
    ).replace('``', '`')


class SphinxRoles(griffe.Extension):
    """Rewrites each docstring as it is collected."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
