"""Print versions and the operators in use and, for all that is wrong, the one command to mend it.

    python tools/env/check_env.py                 the whole report; exit status 1 if
                                                  anything is wrong
    python tools/env/check_env.py --list-damaged  only what pip should install anew
                                                  (for make_env.sh)
    python tools/env/check_env.py --python-path   only what no installation mends: PYTHONPATH
                                                  leads to another mmclarity; exit status 1 then

Uses the standard library only, so that it works in an environment where nothing else does. The
packages are imported in a second process: one that is broken may take its interpreter with it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from found import (
    OPENCV_WITHOUT_LIBGL,
    damaged_packages,
    in_environment,
    installed_commands,
    installed_versions,
    missing_dependencies,
)
from probing import probe
from wanted import ROOT, Requirement, in_range, normal, read_commands, read_requirements

PYTHON_RANGE = ((3, 10), (3, 15))  # the pins of requirements.txt have wheels for these


START_UP_NAME = 'mmclarity.pth'  # what setup.py puts beside the installed packages


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the one command that mends it."""

    what: str
    command: str


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


def python_path_problem(root: Path = ROOT) -> Problem | None:
    """Whether PYTHONPATH, which comes before all that is installed, holds another mmclarity first.

    Args:
        root: The clone.
    """
    entries = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    for entry in entries:
        package = Path(entry, 'mmclarity').resolve()
        if not entry or not (package / '__init__.py').is_file():
            continue
        if package == (root / 'projects/mmclarity').resolve():
            return None
        rest = os.pathsep.join(other for other in entries if other and other != entry)
        command = f'export PYTHONPATH={shlex.quote(rest)}' if rest else 'unset PYTHONPATH'
        return Problem(f'PYTHONPATH leads to another mmclarity: {package}', command)
    return None


def package_problem(installed: dict[str, str], root: Path = ROOT) -> Problem | None:
    """Whether ``import mmclarity`` gives the code of this folder, whatever folder one is in.

    Args:
        installed: Versions by normalised name.
        root: The clone.
    """
    led_away = python_path_problem(root)
    if led_away:
        return led_away
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
    new = sorted(read_commands(root) - installed_commands('mmclarity'))
    if new:
        return Problem(f'mmclarity was installed before it had {", ".join(new)}', command)
    return None


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


def print_problem(problem: Problem) -> None:
    """What is wrong, and the command below it."""
    print(f'WRONG: {problem.what}\n  mend it with:  {problem.command}')


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--list-damaged', action='store_true', help='only print what pip should install anew'
    )
    parser.add_argument(
        '--python-path', action='store_true', help='only say whether PYTHONPATH leads elsewhere'
    )
    args = parser.parse_args(arguments)
    if args.list_damaged:
        print('\n'.join(list_damaged()))
        return 0
    if args.python_path:
        problem = python_path_problem()
        if problem:
            print_problem(problem)
        return 1 if problem else 0
    problems = report()
    for problem in problems:
        print()
        print_problem(problem)
    print(f'\n{len(problems)} problem(s) found.' if problems else '\nAll is well.')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
