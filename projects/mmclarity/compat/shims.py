"""What has gone from Python, numpy and setuptools since the OpenMMLab releases, put back.

:mod:`.finder` calls these functions when the modules that need them are imported. Each may be
called any number of times, and changes nothing where nothing is missing.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import pickle
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmclarity.utils.places import SCOPE, own_config

__all__ = [
    'add_find_loader',
    'add_numpy_names',
    'allow_checkpoint_types',
    'expect_pkg_resources',
    'find_own_configs',
    'get_installed_path',
    'is_installed',
    'replace_package_queries',
]

HISTORY_STATISTICS = ('min', 'max', 'current', 'mean')
# Modules that took the two functions over by `from ... import` if they were imported earlier.
QUERY_MODULES = (
    'mmengine.utils',
    'mmengine.utils.package_utils',
    'mmengine.config.config',
    'mmengine.hub.hub',
)


def add_find_loader() -> None:
    """``pkgutil.find_loader``, gone in Python 3.14, by ``find_spec``: mmcv and mmengine call it."""
    if sys.version_info < (3, 12) and hasattr(pkgutil, 'find_loader'):
        return  # from 3.12 on it warns that it will go

    def find_loader(fullname: str) -> Any:
        """The loader of a module, or None."""
        try:
            spec = importlib.util.find_spec(fullname)
        except (ImportError, AttributeError, TypeError, ValueError):
            return None
        return None if spec is None else spec.loader

    pkgutil.find_loader = find_loader


def add_numpy_names() -> None:
    """``numpy.bool8``, gone in numpy 2: mmagic names it in a table."""
    import numpy as np

    if 'bool8' not in vars(np):
        np.bool8 = np.bool_  # type: ignore[attr-defined]


def _distribution(package: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        return None


def is_installed(package: str) -> bool:
    """Whether a distribution or a module of that name is there (mmengine's, without setuptools)."""
    if _distribution(package) is not None:
        return True
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """The folder of an installed package (mmengine's function, without setuptools).

    Args:
        package: A distribution (``mmcv-lite``) or a module (``mmcv``).

    Raises:
        PackageNotFoundError: it is not there.
        RuntimeError: it is a namespace package, which has no folder of its own.
        ValueError: the distribution does not say which module it brings.
    """
    found = _distribution(package)
    names = [package]
    if found is not None:
        modules = (found.read_text('top_level.txt') or '').split()
        # Wheels of other tools than setuptools have no top_level.txt: the list of files tells.
        modules += [path.parts[0] for path in found.files or () if path.name == '__init__.py']
        names += modules[:1]
        for name in names:
            folder = Path(str(found.locate_file(name)))
            if re.fullmatch(r'\w+', name) and folder.is_dir():
                return str(folder)
    for name in names:  # an editable installation, or a folder of PYTHONPATH
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent)
        if spec is not None:
            raise RuntimeError(f'{package} is a namespace package, which has no installed path')
    if found is None:
        raise importlib.metadata.PackageNotFoundError(package)
    raise ValueError(f'cannot infer the module of the installed package {package}')


def expect_pkg_resources() -> None:
    """No warning that imagecorruptions, which mmdet imports, still asks setuptools for its files.

    Nobody who imports mmdet can do anything about it; without pkg_resources mmdet goes without.
    """
    warnings.filterwarnings(
        'ignore', 'pkg_resources is deprecated', UserWarning, r'imagecorruptions\b'
    )


def replace_package_queries() -> None:
    """Mmengine's two functions that ask setuptools (``pkg_resources``, gone in setuptools 82)."""
    for name in QUERY_MODULES:
        module = sys.modules.get(name)
        for function in (is_installed, get_installed_path):
            if module is not None and hasattr(module, function.__name__):
                setattr(module, function.__name__, function)


def find_own_configs() -> None:
    """``_base_ = 'mmclarity::NAME.py'`` in any config: mmengine knows OpenMMLab's packages only.

    The base is read as one that lies beside the config, so that types keep the scope they have.
    """
    config = sys.modules['mmengine.config.config'].Config
    usual = config._get_cfg_path
    if getattr(usual, 'of_mmclarity', False):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        """The file of a base, and the scope that its types get."""
        if not cfg_path.startswith(SCOPE):
            return usual(cfg_path, filename)
        path = own_config(cfg_path)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, 'mmclarity has no such config', str(path))
        return str(path), None

    get_cfg_path.of_mmclarity = True  # type: ignore[attr-defined]
    config._get_cfg_path = staticmethod(get_cfg_path)


def _history_statistic(owner: Any, name: str) -> Callable:
    """All that a ``getattr`` in a checkpoint may do: name a statistic of mmengine's HistoryBuffer.

    A HistoryBuffer carries its methods (``mean``, ``max``, ...) in its state, and pickle writes a
    method as ``getattr(HistoryBuffer, name)``. The real ``getattr`` would let a checkpoint reach
    anything, so this function is what the name stands for while weights are loaded.

    Raises:
        pickle.UnpicklingError: for any other object or name.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in HISTORY_STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for attribute {name!r} of {owner!r}; '
            f'only {", ".join(HISTORY_STATISTICS)} of HistoryBuffer are safe'
        )
    return getattr(HistoryBuffer, name)


def allow_checkpoint_types() -> None:
    """Lets ``torch.load(weights_only=True)`` read what mmengine saves for a resume.

    From torch 2.6 on checkpoints are loaded so by default, and the few types that mmengine puts
    beside tensors are refused; these, and no others, are declared safe. Where mmengine is not
    installed nothing is done.
    """
    if importlib.util.find_spec('mmengine') is None:
        return
    import numpy as np
    import torch
    from mmengine.logging.history_buffer import HistoryBuffer

    add = getattr(torch.serialization, 'add_safe_globals', None)
    if add is None:  # torch < 2.4 has no such check to satisfy
        return
    # Taken from what numpy itself pickles, because the module that holds them moved in numpy 2.
    functions = {
        '_reconstruct': np.zeros(1).__reduce__()[0],
        'scalar': np.float64(0).__reduce__()[0],
    }
    safe: list[Any] = [HistoryBuffer, np.ndarray, np.dtype]
    safe += [(_history_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    # numpy 1 and 2 write different module names for the same two functions.
    for package in ('numpy.core', 'numpy._core'):
        safe += [(func, f'{package}.multiarray.{name}') for name, func in functions.items()]
    kinds = np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?'
    safe += sorted({type(np.dtype(kind)) for kind in kinds}, key=lambda kind: kind.__name__)
    add(safe)
