"""What a reader finds in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Keys and descriptors under which stimuli are named, the likeliest first.
ID_KEYS = ('ids', 'stimulus_ids', 'names')
DESCRIPTORS = (
    *ID_KEYS,
    *('id', 'stimulus', 'stimuli', 'stim', 'image', 'images', 'condition', 'conditions', 'conds'),
    *('name', 'label', 'labels'),
)


@dataclass
class Found:
    """Values under a key of a file.

    Args:
        values: An array; a list of arrays, one a subject; or a list of lists, sessions of subjects.
        kind: 'rdm' or 'responses' where the format says so, else 'auto'.
        ids: Of the stimuli, where the format says so.
        labels: The ids are labels of BIDS, which hold letters and digits only.
    """

    values: Any
    kind: str = 'auto'
    ids: list[str] | None = None
    labels: bool = False

    @property
    def is_text(self) -> bool:
        """Whether these are names."""
        return isinstance(self.values, np.ndarray) and self.values.dtype.kind in 'SUO'

    def describe(self) -> str:
        """Shape, or how many of which shape."""
        if isinstance(self.values, np.ndarray):
            return str(self.values.shape)
        inner = Found(self.values[0]).describe() if self.values else 'nothing'
        return f'{len(self.values)} of {inner}'

    def may_be_recordings(self) -> bool:
        """Real numbers, more than one."""
        if isinstance(self.values, list):
            return bool(self.values) and all(Found(v).may_be_recordings() for v in self.values)
        array = self.values
        return array.dtype.kind in 'fiu' and array.ndim >= 1 and array.size > 1


def strings(values: np.ndarray) -> list[str]:
    """Ids as texts: whole numbers without a decimal point, bytes decoded."""
    values = np.asarray(values)
    if values.dtype.kind == 'f' and (values == np.round(values)).all():
        values = values.astype(np.int64)  # MATLAB keeps whole numbers as floats: 1, not '1.0'
    return [(v.decode() if isinstance(v, bytes) else str(v)).strip() for v in values.ravel()]


def named_by(descriptors: dict[str, Any], count: int) -> list[str] | None:
    """Ids of ``count`` stimuli among the descriptors of rsatoolbox.

    The known names first; else the only one that tells all stimuli apart, rsatoolbox's own
    ``index`` left aside.
    """
    fitting = {
        key: strings(np.asarray(value))
        for key, value in descriptors.items()
        if key != 'index' and np.size(value) == count
    }
    telling = {key: ids for key, ids in fitting.items() if len(set(ids)) == count}
    for key in DESCRIPTORS:
        if key in telling:
            return telling[key]
    return next(iter(telling.values())) if len(telling) == 1 else None


def stack_or_list(parts: Sequence[Any]) -> Any:
    """One array of parts of one shape, else a list."""
    if all(isinstance(p, np.ndarray) for p in parts) and len({p.shape for p in parts}) == 1:
        return np.stack(parts)
    return list(parts)
