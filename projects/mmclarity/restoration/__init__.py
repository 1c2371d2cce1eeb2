"""Restoration of scanning electron microscope images; its parts go into mmagic's registries."""
from .. import compat

compat.install()

from . import losses  # noqa: E402

__all__ = ['losses']
