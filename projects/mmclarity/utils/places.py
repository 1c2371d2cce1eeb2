"""Where configs and tools are: in the repository, or in what a wheel has of it."""

from __future__ import annotations

from pathlib import Path

__all__ = ['INSTALLED', 'REPO', 'is_clone', 'own_config', 'own_files', 'tool']

REPO = Path(__file__).resolve().parents[3]
# Where a wheel has configs and tools, as those of OpenMMLab do.
INSTALLED = Path(__file__).resolve().parents[1] / '.mim'
SCOPE = 'mmclarity::'


def is_clone() -> bool:
    """Whether this runs from the repository; an installation has no pages and no tests."""
    return (REPO / 'setup.py').is_file() and (REPO / 'configs').is_dir()


def own_files() -> Path | None:
    """The folder with ``configs`` and ``tools``: the repository, or what a wheel has of it."""
    if is_clone():
        return REPO
    return INSTALLED if (INSTALLED / 'configs').is_dir() else None


def own_config(name: str) -> Path:
    """A config of mmclarity, there or not.

    Args:
        name: Its place below ``configs``, perhaps behind ``mmclarity::``.

    Examples:
        >>> own_config('mmclarity::frcnn_murky.py').parts[-2:]
        ('configs', 'frcnn_murky.py')
    """
    return (own_files() or REPO) / 'configs' / name.removeprefix(SCOPE)


def tool(name: str) -> str:
    """How a tool is called in a message.

    Args:
        name: Its place below ``tools``.

    Examples:
        >>> tool('train.py').endswith('tools/train.py')
        True
    """
    return str(INSTALLED / 'tools' / name) if own_files() == INSTALLED else f'tools/{name}'
