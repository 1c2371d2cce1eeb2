"""Old place of :mod:`mmclarity.utils.allocator`."""

from mmclarity.utils.allocator import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed_memory

__all__ = ['M_MMAP_THRESHOLD', 'M_TRIM_THRESHOLD', 'keep_freed_memory']
