"""One finder of imports puts in place what the frozen OpenMMLab releases need.

It stands first in ``sys.meta_path`` and says "not mine" to nearly every name, after one look into
a table. What it knows:

* before and after some modules of numpy's and OpenMMLab's world are run, a shim of
  :mod:`.shims` is applied (:data:`BEFORE`, :data:`AFTER`, and what :func:`when_imported` asks for);
* ``mmcv._ext``, the compiled operators, comes from :mod:`.mmcv_ext` where nothing is compiled;
* packages that mmagic imports without need come from :mod:`.stand_ins` where they are absent.

A start-up file of the installed package calls :func:`install` in every Python session, so that
mmdet works without a thought of mmclarity. This module therefore imports nothing but ``sys``;
what is heavy is imported when one of those names comes up.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ['EXT_NAME', 'install', 'installed', 'when_imported']

EXT_NAME = 'mmcv._ext'
# Module that comes up -> function of shims.py: before, or after, its body is run.
BEFORE = {
    'imagecorruptions': 'expect_pkg_resources',
    'mmengine': 'add_find_loader',
    'mmcv': 'add_find_loader',
    'mmagic': 'add_numpy_names',
}
AFTER = {
    'mmengine.utils.package_utils': 'replace_package_queries',
    'mmengine.logging.history_buffer': 'allow_checkpoint_types',
    'mmengine.config.config': 'find_own_configs',
}
MMAGIC = 'mmagic'


class Finder:
    """A meta path finder; see the module. There is one in a session."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Callable[[], object]]] = {}
        self.mmagic_depth = 0  # how many modules of mmagic are being run, one inside another
        self.stand_ins: Any = None  # the module, from the first of them on

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks of a finder: None for "not mine"."""
        mmagic = name == MMAGIC or name.startswith('mmagic.')
        if mmagic or name in BEFORE or name in AFTER or name in self.waiting:
            return self._watched(self._elsewhere(name, path, target), name, mmagic)
        if name == EXT_NAME:
            if self._elsewhere(name, path, target) is None:
                from .mmcv_ext import extension_spec

                return extension_spec()
        elif (
            self.mmagic_depth
            and self.stand_ins.stands_in_for(name)
            and self._elsewhere(name, path, target) is None
        ):
            return self.stand_ins.spec(name)
        return None

    def _elsewhere(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        """What the other finders find."""
        for finder in sys.meta_path:
            find = getattr(finder, 'find_spec', None)
            if finder is not self and find is not None:
                spec = find(name, path, target)
                if spec is not None:
                    return spec
        return None

    def _watched(self, spec: ModuleSpec | None, name: str, mmagic: bool) -> ModuleSpec | None:
        """A spec whose loader also does what :data:`BEFORE` and the others say."""
        if spec is None or not hasattr(spec.loader, 'exec_module'):
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            if name in BEFORE:
                _shim(BEFORE[name])
            if mmagic:
                self._run_mmagic(run, module)
            else:
                run(module)
            if name in AFTER:
                _shim(AFTER[name])
            for action in self.waiting.pop(name, ()):
                action()

        # On the loader itself: it stays what it was for all that ask it for sources or data.
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _run_mmagic(self, run: Callable[[ModuleType], None], module: ModuleType) -> None:
        """Runs a module of mmagic, with stand-ins for what it imports and is absent."""
        if self.stand_ins is None:
            from . import stand_ins

            self.stand_ins = stand_ins
        self.mmagic_depth += 1
        try:
            run(module)
        finally:
            self.mmagic_depth -= 1
            if not self.mmagic_depth:
                # Only mmagic's modules keep them: for all others the package is still absent.
                self.stand_ins.forget()


def _shim(name: str) -> None:
    """Applies a function of shims.py; where it fails the session goes on, with a warning."""
    try:
        from . import shims

        getattr(shims, name)()
    except Exception as error:
        import warnings

        warnings.warn(f'mmclarity.compat: {name} failed: {error!r}', RuntimeWarning, stacklevel=2)


def _is_ready(name: str) -> bool:
    """Whether a module has been imported to its end."""
    module: Any = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, '_initializing', False)


def installed() -> Finder | None:
    """The finder of this session, if there is one."""
    # By name: after a reload of this module the class is another one.
    return next(
        (
            item
            for item in sys.meta_path
            if type(item).__name__ == 'Finder' and type(item).__module__ == __name__
        ),
        None,
    )  # type: ignore[return-value]


def install() -> Finder:
    """Puts the finder in place, once; what is imported already is mended at once."""
    finder = installed()
    if finder is None:
        finder = Finder()
        sys.meta_path.insert(0, finder)
        for table in (BEFORE, AFTER):
            for name, shim in table.items():
                if _is_ready(name):
                    _shim(shim)
    return finder


def when_imported(name: str, action: Callable[[], object]) -> None:
    """Calls ``action()`` once: as soon as a module has been imported, now if it has been already.

    Args:
        name: Such as ``mmdet.registry``. Nothing is imported by asking.
        action: An error of it is the importer's.
    """
    if _is_ready(name):
        action()
    else:
        install().waiting.setdefault(name, []).append(action)
