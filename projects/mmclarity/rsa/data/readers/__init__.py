"""Files of recordings, each format by itself: what they hold, not yet what it means."""

from .files import SUFFIXES, read, split_spec
from .found import Found

__all__ = ['SUFFIXES', 'Found', 'read', 'split_spec']
