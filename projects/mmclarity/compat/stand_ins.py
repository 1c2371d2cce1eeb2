"""Stand-ins for packages that mmagic imports at its top and that restoration does not use.

``pip install mmagic`` brings diffusers, transformers, mediapipe and more, some 700 MB. Installed
with ``--no-deps`` it works as well: while a module of mmagic is run, and only for its own imports,
each of these names that is absent is stood in for. Whatever is taken from a stand-in can be a base
class, a decorator or an annotation; what really uses it raises :class:`MissingPackageError`, which
says what to install. For all other code the package stays absent.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from mmclarity.errors import UsageError

__all__ = [
    'PACKAGES',
    'MissingAttributeError',
    'MissingPackageError',
    'forget',
    'spec',
    'stands_in_for',
]

# Top-level module -> what to give to pip: the releases that mmagic 1.2.0 works with.
PACKAGES = {
    'albumentations': 'albumentations==1.3.1',
    'click': 'click',
    'controlnet_aux': 'controlnet-aux',
    'diffusers': 'diffusers==0.28.2',
    'einops': 'einops',
    'huggingface_hub': 'huggingface_hub==0.25.2',
    'imageio': 'imageio',
    'lpips': 'lpips',
    'mediapipe': 'mediapipe',
    'pandas': 'pandas',
    'requests': 'requests',
    'resize_right': 'resize-right',
    'safetensors': 'safetensors',
    'transformers': 'transformers==4.48.3',
}


class MissingPackageError(UsageError):
    """Something of a package that is not installed was used."""


class MissingAttributeError(MissingPackageError, AttributeError):
    """The same for an attribute, so that ``hasattr`` says no and ``getattr`` takes its default."""


def _missing(name: str) -> str:
    top = name.partition('.')[0]
    return (
        f'mmagic uses {name}, but {top} is not installed. Install it:  '
        f'{sys.executable} -m pip install "{PACKAGES[top]}"'
    )


class _Missing(type):
    """The type of names taken from a stand-in."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        """A decorator gives back what it decorates; ``is_..._available()`` is False."""
        last = cls.__name__
        if last.startswith('is_') and last.endswith('_available'):
            return False
        named = '_stands_for' in vars(cls)
        if named and len(arguments) == 1 and not options:
            (thing,) = arguments
            if isinstance(thing, FunctionType | type) and thing.__module__.startswith('mmagic'):
                return thing
        raise MissingPackageError(_missing(cls._stands_for))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        raise MissingAttributeError(_missing(f'{cls._stands_for}.{name}'))

    def __dir__(cls) -> list[str]:
        return []

    def __repr__(cls) -> str:
        return f'<stand-in for {cls._stands_for}, which is not installed>'


class StandIn(ModuleType):
    """An absent package, or a module of one: every public name is there until it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        full = f'{self.__name__}.{name}'
        thing = _Missing(name, (), {'_stands_for': full, '__module__': self.__name__})
        setattr(self, name, thing)
        return thing

    def __dir__(self) -> list[str]:
        return []


class Loader:
    """Makes stand-ins; ``--no-deps`` leaves nothing to run."""

    def create_module(self, spec: ModuleSpec) -> StandIn:
        """An empty module."""
        return StandIn(spec.name, f'A stand-in: {spec.name} is not installed.')

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: names are made when they are asked for."""


def stands_in_for(name: str) -> bool:
    """Whether ``name`` may be stood in for, for the module that imports it just now."""
    top, _, rest = name.partition('.')
    if top not in PACKAGES:
        return False
    return isinstance(sys.modules.get(top), StandIn) if rest else _importer_is_mmagic()


def _importer_is_mmagic() -> bool:
    """Whether the import statement that is being carried out stands in a module of mmagic."""
    frame = sys._getframe(1)
    own = ('mmclarity.compat.', 'importlib', '_frozen_importlib')
    while frame is not None:
        name = frame.f_globals.get('__name__') or ''
        if not name.startswith(own):
            return name.startswith('mmagic.')
        frame = frame.f_back
    return False


def spec(name: str) -> ModuleSpec:
    """The spec of a stand-in; each is a package, so that its modules can be imported."""
    return ModuleSpec(name, Loader(), origin='stand-in of mmclarity', is_package=True)


def forget() -> None:
    """Takes the stand-ins out of ``sys.modules``."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, StandIn)]:
        del sys.modules[name]
