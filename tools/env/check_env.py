"""Print versions and the operators in use and, for all that is wrong, the one command to mend it.

    python tools/env/check_env.py                 the whole report; exit status 1 if
                                                  anything is wrong
    python tools/env/check_env.py --list-damaged  only what pip should install anew
                                                  (for make_env.sh)

Uses the standard library only, so that it works in an environment where nothing else does. The
packages are imported in a second process: one that is broken may take its interpreter with it.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib.metadata as metadata
import importlib.util
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PYTHON_RANGE = ((3, 10), (3, 15))  # the pins of requirements.txt have wheels for these
REQUIREMENT_FILES = ('requirements.txt', 'requirements-nodeps.txt', 'requirements-dev.txt')
# Lists of setup.py; what is in the last one may be absent.
NEEDED_LISTS = ('INSTALL_REQUIRES', 'DETECTION', 'RESTORATION', 'MMAGIC')
OPTIONAL_LIST = 'MMAGIC_NEEDS'
OPENCV_WITHOUT_LIBGL = 'opencv-python-headless'
START_UP_NAME = 'mmclarity.pth'  # what setup.py puts beside the installed packages
IMPORT_TIMEOUT = 300  # seconds; a first import from a cold network disk is slow

# Imported in this order; each line of output belongs to one step, so that a crash is attributed.
PROBE = """
import importlib, sys, warnings
warnings.simplefilter('ignore')
def step(name, action):
    print('try', name, flush=True)
    try:
        result = action()
    except BaseException as error:
        text = f'{type(error).__name__}: {error}'.replace('\\n', ' ')
        print('bad', name, text[:300], flush=True)
        return None
    print('ok', name, '' if result is None else result, flush=True)
    return result
def load(name):
    importlib.import_module(name)
def operators():
    from mmclarity import compat
    return compat.operators()
def run_nms():
    import torch
    from mmcv.ops import nms
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.1], device=device), 0.5)[1].tolist()
    assert kept == [1, 2], f'nms kept {kept} in the place of [1, 2]'
def gpu():
    import torch
    if not torch.cuda.is_available():
        return 'none (everything runs on the CPU)'
    return f'{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})'
for module in ('numpy', 'numba', 'torch', 'torchvision', 'cv2', 'mmengine', 'mmcv'):
    step(module, lambda: load(module))
step('gpu', gpu)
step('operators', operators)
step('nms', run_nms)
step('mmdet', lambda: load('mmdet.apis'))
step('mmagic', lambda: load('mmagic.models'))
"""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the one command that mends it."""

    what: str
    command: str


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


def installed_versions() -> dict[str, str]:
    """Normalised name -> version of every installed package whose metadata can be read."""
    found: dict[str, str] = {}
    for dist in metadata.distributions():
        name, version = dist.metadata['Name'], dist.metadata['Version']
        if name and version:
            found.setdefault(normal(name), version)
    return found


def in_environment() -> bool:
    """Whether this Python is a virtual environment's; ``-S`` hides that from ``sys.prefix``."""
    beside = Path(sys.executable).parent.parent / 'pyvenv.cfg'
    return sys.prefix != sys.base_prefix or beside.is_file()


def pip_install(*arguments: str) -> str:
    """A command line that installs into the interpreter that runs this script."""
    return shlex.join([sys.executable, '-m', 'pip', 'install', *arguments])


def reinstall(requirement: Requirement) -> str:
    """A command that also works where pip has lost the list of files that it would remove."""
    return pip_install('--ignore-installed', '--no-deps', requirement.spec)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> list[Problem]:
    """Whether wheels of the pinned packages exist for this Python."""
    low, high = PYTHON_RANGE
    if low <= version < high:
        return []
    return [
        Problem(
            f'Python {version[0]}.{version[1]} is not supported: 3.10 to 3.14 is needed',
            'make env PYTHON=python3.11',
        )
    ]


def check_versions(
    requirements: Iterable[Requirement], installed: dict[str, str]
) -> tuple[list[Problem], list[Requirement]]:
    """Compare what is installed with what is required.

    Returns:
        The problems, and the requirements that cause them, in the same order.
    """
    problems, causes = [], []
    for requirement in requirements:
        version = installed.get(normal(requirement.name))
        if version is None and requirement.name == 'mmcv-lite':
            version = installed.get('mmcv')  # a compiled mmcv takes its place
        if version is None and not requirement.needed:
            continue
        if version is None:
            what = f'{requirement.name} is not installed'
        elif not in_range(version, requirement.range):
            what = f'{requirement.name} {version} is not in {requirement.range}'
        else:
            continue
        problems.append(Problem(what, pip_install(requirement.spec)))
        causes.append(requirement)
    return problems, causes


def package_problem(installed: dict[str, str], root: Path = ROOT) -> Problem | None:
    """Whether ``import mmclarity`` gives the code of this folder, whatever folder one is in.

    Args:
        installed: Versions by normalised name.
        root: The clone.
    """
    command = pip_install('--no-build-isolation', '--no-deps', '-e', str(root))
    if 'mmclarity' not in installed:
        return Problem('mmclarity itself is not installed', command)
    try:
        spec = importlib.util.find_spec('mmclarity')
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return Problem('mmclarity is installed from a folder that is not there any more', command)
    place = Path(spec.origin).resolve().parent
    if place != (root / 'projects/mmclarity').resolve():
        return Problem(f'mmclarity is installed from another folder: {place}', command)
    sites = (Path(folder) for folder in sys.path)
    if not any((site / START_UP_NAME).is_file() for site in sites):
        return Problem(f'{START_UP_NAME}, which makes mmdet work in any session, is gone', command)
    return None


def nodeps_names(root: Path = ROOT) -> list[str]:
    """The packages that are installed without what they require."""
    file = root / 'requirements-nodeps.txt'
    lines = file.read_text(encoding='utf-8').splitlines() if file.is_file() else []
    return [split_requirement(line)[0] for line in lines if line and not line.startswith('#')]


def missing_dependencies(installed: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What installed packages need and is not there, as after a removal by hand.

    Args:
        installed: Versions by normalised name.

    Returns:
        Normalised name -> what to give to pip, and a package that needs it.
    """
    try:
        from pip._vendor.packaging.requirements import Requirement as Parsed
    except ImportError:  # an environment without pip: nothing could be installed either
        return {}
    alone = {normal(name) for name in nodeps_names()}
    stand_ins = {'mmcv-lite': 'mmcv', 'mmcv': 'mmcv-lite', 'opencv-python': OPENCV_WITHOUT_LIBGL}
    found: dict[str, tuple[str, str]] = {}
    for dist in metadata.distributions():
        if normal(dist.metadata['Name'] or '') in alone:
            continue
        for line in dist.requires or ():
            need = Parsed(line)
            key = normal(need.name)
            if need.marker is not None and not need.marker.evaluate({'extra': ''}):
                continue
            if key not in installed and stand_ins.get(key) not in installed:
                found[key] = f'{need.name}{need.specifier}', dist.metadata['Name']
    return found


def damaged_packages() -> dict[str, str]:
    """Packages with files that are missing or cut off, as an interrupted installation leaves them.

    Returns:
        Normalised name -> ``name==version``.
    """
    sizes: dict[Path, set[int | None]] = {}
    files: dict[str, list[Path]] = {}
    specs: dict[str, str] = {}
    missing_record: set[str] = set()
    for dist in metadata.distributions():
        name, version = dist.metadata['Name'], dist.metadata['Version']
        if not name or not version or dist.read_text('direct_url.json'):
            continue  # not from an index: an editable or local installation is its owner's
        key = normal(name)
        specs[key] = f'{name}=={version}'
        record = dist.read_text('RECORD')
        if record is None:
            # pip writes the list of files last. An egg-info, as an old pip leaves it, has none, and
            # names the files of its source in the place.
            if dist.read_text('METADATA') is not None:
                missing_record.add(key)
            continue
        # Not dist.files: from Python 3.12 on it leaves out what is missing.
        for file, _, size in csv.reader(record.splitlines()):
            path = Path(dist.locate_file(file))
            if path.suffix != '.pyc':
                # The opencv packages overwrite each other's files: any owner's size is right.
                sizes.setdefault(path, set()).add(int(size) if size else None)
                files.setdefault(key, []).append(path)

    def intact(path: Path) -> bool:
        try:
            size = path.stat().st_size
        except OSError:
            return False
        return size in sizes[path] or None in sizes[path]

    cut = {key for key, paths in files.items() if not all(map(intact, paths))}
    return {key: specs[key] for key in sorted(cut | missing_record)}


def probe(timeout: float = IMPORT_TIMEOUT) -> dict[str, tuple[bool, str]]:
    """Import the packages in a process of their own.

    Returns:
        Step -> (whether it went well, its result or its error).
    """
    try:
        done = subprocess.run(
            [sys.executable, '-c', PROBE, str(ROOT / 'projects')],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        output, end = done.stdout, f'the interpreter died (status {done.returncode})'
    except subprocess.TimeoutExpired as error:
        output = error.stdout or ''
        output = output.decode(errors='replace') if isinstance(output, bytes) else output
        end = f'not finished after {timeout:.0f} s'
    steps: dict[str, tuple[bool, str]] = {}
    for line in output.splitlines():
        word, _, rest = line.partition(' ')
        name, _, text = rest.partition(' ')
        if word == 'try':
            steps[name] = (False, end)
        elif word in ('ok', 'bad') and name in steps:
            steps[name] = (word == 'ok', text)
    return steps


def probe_problems(
    steps: dict[str, tuple[bool, str]], requirements: Iterable[Requirement]
) -> list[Problem]:
    """Turn failed imports into problems; what fails only because of an earlier one is left out."""
    by_name = {normal(requirement.name): requirement for requirement in requirements}
    packages = {'cv2': 'opencv-python'}
    failed = [(name, text) for name, (good, text) in steps.items() if not good]
    if not steps:
        return [Problem('the interpreter cannot run a program', 'make env')]
    if not failed:
        return []
    name, text = failed[0]
    if name == 'cv2' and '.so' in text:  # libGL.so.1, which a machine without a screen lacks
        headless = Requirement(OPENCV_WITHOUT_LIBGL, '', by_name['opencv-python'].pin)
        return [Problem(f'cv2 cannot be imported: {text}', reinstall(headless))]
    if name in ('operators', 'nms') and '_ext' in text:
        lite = by_name['mmcv-lite']
        command = shlex.join([sys.executable, '-m', 'pip', 'uninstall', '-y', 'mmcv'])
        return [
            Problem(
                f'the compiled mmcv does not fit this torch: {text}',
                f'{command} && {reinstall(lite)}',
            )
        ]
    package = by_name.get(normal(packages.get(name, name)))
    command = reinstall(package) if package else 'make env'
    return [Problem(f'{name} does not work: {text}', command)]


def list_damaged() -> list[str]:
    """What pip should install anew: missing, wrong or damaged packages.

    Returns:
        Arguments for pip: ``name==version``, and ``-e .`` for mmclarity itself.
    """
    requirements = read_requirements()
    installed = installed_versions()
    _, causes = check_versions(requirements, installed)
    wanted = {normal(cause.name): cause.spec for cause in causes}
    lacking = {key: spec for key, (spec, _) in missing_dependencies(installed).items()}
    wanted = {**lacking, **damaged_packages(), **wanted}
    if not wanted and any(item.name == 'opencv-python' for item in requirements):
        # The usual opencv needs libGL.so.1, which a machine without a screen lacks.
        done = subprocess.run(
            [sys.executable, '-c', 'import cv2'], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pin = next(item.pin for item in requirements if item.name == 'opencv-python')
            wanted['cv2'] = f'{OPENCV_WITHOUT_LIBGL}=={pin}'
    package = ['-e .'] if package_problem(installed) else []
    return sorted(wanted.values()) + package


def report() -> list[Problem]:
    """Print the state of the environment and return all that is wrong."""
    requirements = read_requirements()
    installed = installed_versions()
    print(f'Python {platform.python_version()}  {sys.executable}')
    print(f'{platform.system()} {platform.release()} {platform.machine()}')
    for requirement in requirements:
        version = installed.get(normal(requirement.name), '-')
        tested = f'tested {requirement.pin}' if requirement.pin not in ('', version) else ''
        print(f'  {requirement.name:34}{version:16}{tested}'.rstrip())
    if 'mmcv' in installed:
        print(f'  {"mmcv":34}{installed["mmcv"]:16}')
    wrong_versions, causes = check_versions(requirements, installed)
    problems = check_python() + wrong_versions
    if wrong_versions and not in_environment():
        # The system's own Python: nothing should be installed there.
        return [Problem(f'{sys.executable} has not what mmclarity needs: use .venv', 'make check')]
    steps = probe()
    print('GPU:', steps.get('gpu', (False, 'unknown'))[1])
    good, text = steps.get('operators', (False, 'mmcv cannot be imported'))
    print('Operators (nms, roi_align):', text if good else f'not usable: {text}')
    named = {normal(cause.name) for cause in causes}
    problems += [
        Problem(
            f'{spec} has missing or cut-off files',
            pip_install('--ignore-installed', '--no-deps', spec),
        )
        for name, spec in damaged_packages().items()
        if name not in named
    ]
    problems += [
        Problem(f'{key} is not installed, but {owner} needs it', pip_install(spec))
        for key, (spec, owner) in missing_dependencies(installed).items()
        if key not in named
    ]
    package = package_problem(installed)
    problems += [package] if package else []
    # Imports that fail because of a wrong version are mended by mending the version.
    if not problems:
        problems += probe_problems(steps, requirements)
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--list-damaged', action='store_true', help='only print what pip should install anew'
    )
    if parser.parse_args(arguments).list_damaged:
        print('\n'.join(list_damaged()))
        return 0
    problems = report()
    for problem in problems:
        print(f'\nWRONG: {problem.what}\n  mend it with:  {problem.command}')
    print(f'\n{len(problems)} problem(s) found.' if problems else '\nAll is well.')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
