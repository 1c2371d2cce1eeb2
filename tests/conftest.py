"""Everything under tests/ may import mmdet: its operators are made available first."""

from mmclarity import compat

compat.install()
