"""What the files of this folder require: ranges of setup.py, pins of the requirement files.

Versions are compared by a few lines of its own in the place of ``packaging``: the check has to
work where nothing is installed.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT_FILES = ('requirements.txt', 'requirements-nodeps.txt', 'requirements-dev.txt')
# Lists of setup.py; what is in the last one may be absent.
NEEDED_LISTS = ('INSTALL_REQUIRES', 'DETECTION', 'RESTORATION', 'MMAGIC')
OPTIONAL_LIST = 'MMAGIC_NEEDS'


@dataclass(frozen=True)
class Requirement:
    """A package, the range it may be in (``>=1,<2``) and the tested version ('' if none).

    One that is not ``needed`` may be absent, but not of another version.
    """

    name: str
    range: str
    pin: str
    needed: bool = True

    @property
    def spec(self) -> str:
        """What to give to pip: the tested version, else the range."""
        return f'{self.name}=={self.pin}' if self.pin else f'{self.name}{self.range}'


def normal(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r'[-_.]+', '-', name).lower()


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, ``2.14.1+cpu`` -> (2, 14, 1); release candidates count as final."""
    match = re.match(r'\d+(\.\d+)*', version)
    if match is None:
        raise ValueError(f'no version number: {version!r}')
    return tuple(int(part) for part in match.group().split('.'))


def in_range(version: str, bounds: str) -> bool:
    """Whether a version satisfies comma-separated bounds made of ``>= <= == != < >``.

    Args:
        version: such as ``1.26.4``.
        bounds: such as ``>=1.24,<2``; empty means any.

    Raises:
        ValueError: if a bound is not understood.
    """
    for bound in filter(None, (part.strip() for part in bounds.split(','))):
        match = re.fullmatch(r'(>=|<=|==|!=|<|>)\s*([\d.]+)', bound)
        if match is None:
            raise ValueError(f'bound not understood: {bound!r}')
        left, right = release(version), release(match.group(2))
        size = max(len(left), len(right))
        left += (0,) * (size - len(left))
        right += (0,) * (size - len(right))
        holds = {
            '>=': left >= right,
            '<=': left <= right,
            '==': left == right,
            '!=': left != right,
            '<': left < right,
            '>': left > right,
        }[match.group(1)]
        if not holds:
            return False
    return True


def split_requirement(line: str) -> tuple[str, str]:
    """``numpy>=1.24,<2`` -> ('numpy', '>=1.24,<2')."""
    match = re.fullmatch(r'([A-Za-z0-9][\w.-]*)\s*(.*)', line.strip())
    if match is None:
        raise ValueError(f'requirement not understood: {line!r}')
    return match.group(1), match.group(2)


def marker_holds(marker: str, version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Whether a requirement is for this Python: ``python_version >= "3.11"``; empty: for all.

    Raises:
        ValueError: if the marker is of another kind.
    """
    if not marker.strip():
        return True
    match = re.fullmatch(r"python_version\s*([<>=!]+)\s*[\"']([\d.]+)[\"']", marker.strip())
    if match is None:
        raise ValueError(f'marker not understood: {marker!r}')
    return in_range('.'.join(map(str, version)), ''.join(match.groups()))


def read_pins(root: Path = ROOT) -> dict[str, tuple[str, str]]:
    """The pins of the requirement files for this Python: normalised name -> name, version."""
    pins: dict[str, tuple[str, str]] = {}
    for file in REQUIREMENT_FILES:
        if not (root / file).is_file():
            continue
        for line in (root / file).read_text(encoding='utf-8').splitlines():
            line, _, marker = line.split('#')[0].strip().partition(';')
            if line and not line.startswith('-') and marker_holds(marker):
                name, bounds = split_requirement(line)
                pins[normal(name)] = (name, bounds.removeprefix('=='))
    return pins


def read_requirements(root: Path = ROOT) -> list[Requirement]:
    """The ranges of setup.py joined with the pins of the requirement files."""
    pins = read_pins(root)
    tree = ast.parse((root / 'setup.py').read_text(encoding='utf-8'))
    ranges = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in (*NEEDED_LISTS, OPTIONAL_LIST)
    }
    requirements: dict[str, Requirement] = {}
    for key in (*NEEDED_LISTS, OPTIONAL_LIST):
        for line in ranges.get(key, ()):
            name, bounds = split_requirement(line)
            pin = pins.pop(normal(name), ('', ''))[1]
            needed = key != OPTIONAL_LIST or bool(pin)
            requirements.setdefault(normal(name), Requirement(name, bounds, pin, needed))
    # What only development needs has no range of its own: any version will do.
    return [
        *requirements.values(),
        *(Requirement(name, '', pin) for name, pin in pins.values()),
    ]


def read_commands(root: Path = ROOT) -> set[str]:
    """The console commands of setup.py."""
    file = root / 'setup.py'
    text = file.read_text(encoding='utf-8') if file.is_file() else ''
    return set(re.findall(r"'(mmclarity-[a-z]+) = mmclarity\.cli\.", text))


def nodeps_names(root: Path = ROOT) -> list[str]:
    """The packages that are installed without what they require."""
    file = root / 'requirements-nodeps.txt'
    lines = file.read_text(encoding='utf-8').splitlines() if file.is_file() else []
    return [split_requirement(line)[0] for line in lines if line and not line.startswith('#')]
