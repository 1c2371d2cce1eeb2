"""Every fault that check_env.py knows, simulated, and the repair of a real environment."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import check_env
import found
import probing
import wanted

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/env/check_env.py'
REQUIREMENTS = wanted.read_requirements()
GOOD = {wanted.normal(item.name): item.pin for item in REQUIREMENTS if item.pin}


@pytest.mark.parametrize(
    ('version', 'bounds', 'holds'),
    [
        ('1.26.4', '>=1.24,<2', True),
        ('2.0.0', '>=1.24,<2', False),
        ('2', '<2.0.0', False),
        ('2.14.1+cpu', '>=2.4', True),
        ('2.3.1', '>=2.4', False),
        ('2.10', '>=2.4', True),
        ('80.9.0', '<81', True),
        ('81.0', '<81', False),
        ('2.0', '==2.0.0', True),
        ('2.0.1', '!=2.0.1', False),
        ('3.0', '<=3', True),
        ('3.1', '>3', True),
        ('0.1.dev3', '', True),
    ],
)
def test_in_range(version, bounds, holds):
    assert wanted.in_range(version, bounds) is holds


def test_bounds_that_are_not_understood_are_refused():
    with pytest.raises(ValueError, match='~=1.2'):
        wanted.in_range('1.2', '~=1.2')


def test_pins_lie_in_the_ranges_of_setup():
    problems, causes = check_env.check_versions(REQUIREMENTS, GOOD)
    assert problems == [] and causes == []
    names = {item.name for item in REQUIREMENTS if item.range}
    assert {'torch', 'mmengine', 'mmdet', 'mmcv-lite', 'numpy', 'mmagic', 'tifffile'} <= names
    assert all(item.pin for item in REQUIREMENTS if item.needed), 'each has a tested pin'
    assert {'diffusers', 'transformers'} <= {i.name for i in REQUIREMENTS if not i.needed}


@pytest.mark.parametrize(
    ('fault', 'what', 'remedy'),
    [
        ({'torch': None}, 'torch is not installed', 'torch=='),
        ({'numpy': '1.23.5'}, 'numpy 1.23.5 is not in >=1.24', 'numpy==2.'),
        ({'setuptools': None}, 'setuptools is not installed', 'setuptools=='),
        ({'mmagic': None}, 'mmagic is not installed', 'mmagic==1.2.0'),
        ({'transformers': '5.0.1'}, 'transformers 5.0.1 is not in >=4.30,<5', '>=4.30,<5'),
        ({'diffusers': '0.30.0'}, 'diffusers 0.30.0', 'diffusers>='),
        ({'mmengine': '0.8.0'}, 'mmengine 0.8.0', 'mmengine==0.10'),
        ({'huggingface-hub': '0.30.0'}, 'huggingface_hub 0.30.0', 'huggingface_hub==0.25'),
        ({'mmcv-lite': None}, 'mmcv-lite is not installed', 'mmcv-lite=='),
        ({'mmcv-lite': None, 'mmcv': '1.7.0'}, 'mmcv-lite 1.7.0', 'mmcv-lite=='),
    ],
)
def test_wrong_version_has_one_command(fault, what, remedy):
    installed = {key: value for key, value in {**GOOD, **fault}.items() if value is not None}
    problems, _ = check_env.check_versions(REQUIREMENTS, installed)
    (problem,) = problems
    assert what in problem.what
    assert problem.command.startswith(f'{sys.executable} -m pip install')
    assert remedy in problem.command and '\n' not in problem.command


def test_compiled_mmcv_takes_the_place_of_lite():
    installed = {**GOOD, 'mmcv': '2.1.0'}
    del installed['mmcv-lite']
    assert check_env.check_versions(REQUIREMENTS, installed) == ([], [])


@pytest.mark.parametrize(
    ('version', 'good'), [((3, 9), 0), ((3, 10), 1), ((3, 12), 1), ((3, 14), 1), ((3, 15), 0)]
)
def test_python_version(version, good):
    assert (check_env.check_python(version) == []) == bool(good)


@pytest.mark.parametrize(
    ('step', 'text', 'remedy'),
    [
        ('torch', 'OSError: libtorch.so: file too short', 'torch=='),
        ('cv2', 'ImportError: libGL.so.1: cannot open', 'opencv-python-headless==5.0'),
        ('mmagic', "ImportError: cannot import name 'x'", 'mmagic==1.2.0'),
        ('operators', 'ImportError: mmcv/_ext.so: undefined symbol', 'uninstall -y mmcv && '),
        ('nms', 'RuntimeError: operator torchvision::nms does not exist', 'make env'),
    ],
)
def test_failed_import_has_one_command(step, text, remedy):
    steps = {'numpy': (True, ''), step: (False, text), 'mmdet': (False, 'a consequence')}
    (problem,) = check_env.probe_problems(steps, REQUIREMENTS)
    assert text in problem.what and remedy in problem.command


def test_probe_blames_the_import_that_kills_the_interpreter(monkeypatch):
    died = "print('try numpy'); print('ok numpy '); print('try torch', flush=True)\n"
    monkeypatch.setattr(probing, 'PROBE', died + 'import os; os._exit(139)')
    steps = probing.probe()
    assert steps['numpy'][0] and not steps['torch'][0]
    assert 'status 139' in steps['torch'][1]
    (problem,) = check_env.probe_problems(steps, REQUIREMENTS)
    assert problem.what.startswith('torch does not work') and 'torch==' in problem.command


def test_probe_gives_up_on_an_import_that_hangs(monkeypatch):
    hangs = "import time; print('try torch', flush=True); time.sleep(600)"
    monkeypatch.setattr(probing, 'PROBE', hangs)
    for seconds in (1, 10, 100):  # a busy machine may not have begun in the first
        steps = probing.probe(timeout=seconds)
        if steps:
            break
    assert steps['torch'] == (False, f'not finished after {seconds} s')


def make_package(site: Path, name: str, size: int | None = None) -> Path:
    """A small installed package; its list of files states the size (default: the true one)."""
    module = site / f'{name}.py'
    module.write_text('VALUE = 1\n')
    info = site / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    size = module.stat().st_size if size is None else size
    (info / 'RECORD').write_text(f'"{name}.py",,{size}\n"{info.name}/RECORD",,\n')
    return module


def test_damaged_files_are_found(tmp_path, monkeypatch):
    make_package(tmp_path, 'whole')
    make_package(tmp_path, 'cut', size=4000)
    make_package(tmp_path, 'gone').unlink()
    make_package(tmp_path, 'unlisted')
    (tmp_path / 'unlisted-1.0.dist-info/RECORD').unlink()
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    damaged = found.damaged_packages()
    assert damaged == {'cut': 'cut==1.0', 'gone': 'gone==1.0', 'unlisted': 'unlisted==1.0'}


def test_a_missing_file_is_found_where_python_lists_only_what_is_there(tmp_path, monkeypatch):
    """As Python does from 3.12 on: its own list of files leaves out what is missing."""
    make_package(tmp_path, 'gone').unlink()
    make_package(tmp_path, 'quoted, name')
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    monkeypatch.setattr(importlib.metadata.PathDistribution, 'files', [], raising=False)
    assert found.damaged_packages() == {'gone': 'gone==1.0'}


def test_a_package_of_an_old_pip_is_not_damaged(tmp_path, monkeypatch):
    """An egg-info lists its source's files, setup.py for one, which are not installed."""
    info = tmp_path / 'old-1.0-py3.10.egg-info'
    info.mkdir()
    (info / 'PKG-INFO').write_text('Metadata-Version: 2.1\nName: old\nVersion: 1.0\n')
    (info / 'SOURCES.txt').write_text('setup.py\nold.py\n')
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    assert len(dists) == 1 and found.damaged_packages() == {}


def test_file_that_two_packages_share_may_have_either_size(tmp_path, monkeypatch):
    make_package(tmp_path, 'first')
    make_package(tmp_path, 'second')
    (tmp_path / 'second-1.0.dist-info/RECORD').write_text('first.py,,77\nsecond.py,,10\n')
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    assert found.damaged_packages() == {}


@pytest.mark.parametrize(
    ('marker', 'version', 'holds'),
    [
        ('', (3, 10), True),
        (' python_version >= "3.11"', (3, 10), False),
        (' python_version >= "3.11"', (3, 11), True),
        (" python_version < '3.11'", (3, 10), True),
        (' python_version < "3.11"', (3, 12), False),
    ],
)
def test_markers(marker, version, holds):
    assert wanted.marker_holds(marker, version) is holds


def test_markers_of_another_kind_are_refused():
    with pytest.raises(ValueError, match='sys_platform'):
        wanted.marker_holds('sys_platform == "linux"')


def test_what_mmagic_asks_for_may_be_missing(tmp_path, monkeypatch):
    """It is installed with --no-deps; what others ask for must be there."""
    for name in ('mmagic', 'other'):
        make_package(tmp_path, name)
        with (tmp_path / f'{name}-1.0.dist-info/METADATA').open('a') as file:
            file.write(f'Requires-Dist: needed-by-{name}\n')
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    assert list(found.missing_dependencies({})) == ['needed-by-other']


def test_one_pin_for_each_python(tmp_path):
    (tmp_path / 'setup.py').write_text("INSTALL_REQUIRES = ['tiny>=1']\n")
    (tmp_path / 'requirements.txt').write_text(
        'tiny==2.0; python_version >= "3.10"\ntiny==1.0; python_version < "3.10"\n'
    )
    (tmp_path / 'requirements-dev.txt').write_text('')
    assert [item.pin for item in wanted.read_requirements(tmp_path)] == ['2.0']


def test_what_installed_packages_need_must_be_there(tmp_path, monkeypatch):
    make_package(tmp_path, 'owner')
    with (tmp_path / 'owner-1.0.dist-info/METADATA').open('a') as file:
        file.write(
            'Requires-Dist: Here_It.is\nRequires-Dist: gone<3,>=1\n'
            'Requires-Dist: old; python_version < "3"\n'
            'Requires-Dist: optional; extra == "more"\nRequires-Dist: mmcv>=2\n'
        )
    dists = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(found.metadata, 'distributions', lambda: dists)
    installed = {'owner': '1.0', 'here-it-is': '1', 'mmcv-lite': '2.1.0'}
    assert found.missing_dependencies(installed) == {'gone': ('gone<3,>=1', 'owner')}


def test_mmclarity_must_be_installed_from_this_folder(tmp_path):
    for root in (tmp_path / 'here', tmp_path / 'there'):
        (root / 'projects/mmclarity').mkdir(parents=True)
        (root / 'projects/mmclarity/__init__.py').write_text('')
    site = tmp_path / 'site'
    site.mkdir()
    (site / 'mmclarity.pth').touch()
    code = (
        'import pathlib, sys\n'
        'import check_env\n'
        'sys.path.insert(0, sys.argv[2])\n'
        'installed = {"mmclarity": "1"} if sys.argv[1] == "yes" else {}\n'
        'problem = check_env.package_problem(installed, pathlib.Path("here").resolve())\n'
        'print(problem and problem.what + " | " + problem.command)'
    )

    def ask(installed: str, path: str) -> str:
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(site), str(SCRIPT.parent)])}
        # -S: without site-packages, where a real mmclarity may be.
        command = [sys.executable, '-S', '-c', code, installed, path]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    about = site / 'mmclarity-1.0.dist-info'
    about.mkdir()
    (about / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmclarity\nVersion: 1.0\n')
    (about / 'entry_points.txt').write_text('[console_scripts]\nmmclarity-rsa = a:main\n')
    setup = tmp_path / 'here/setup.py'
    setup.write_text("scripts = ['mmclarity-rsa = mmclarity.cli.rsa:main']")
    assert ask('yes', 'here/projects') == 'None'
    setup.write_text(setup.read_text() + "\n'mmclarity-train = mmclarity.cli.commands:train'")
    assert 'was installed before it had mmclarity-train |' in ask('yes', 'here/projects')
    assert 'itself is not installed' in ask('no', 'here/projects')
    assert 'installed from another folder' in ask('yes', 'there/projects')
    (site / 'mmclarity.pth').unlink()
    assert 'mmclarity.pth, which makes mmdet work' in ask('yes', 'here/projects')
    answer = ask('yes', 'nowhere')
    assert 'not there any more' in answer
    assert answer.endswith(f'--no-build-isolation --no-deps -e {tmp_path / "here"}')


@pytest.mark.parametrize(
    ('path', 'command'),
    [
        ('', None),
        ('{here}', None),
        ('{here}:{there}', None),
        ('/nowhere:{here}:{there}', None),
        ('{there}', 'unset PYTHONPATH'),
        ('{there}:{here}', 'export PYTHONPATH={here}'),
        (':{there}:/no where:', "export PYTHONPATH='/no where'"),
        ('{bare}:{there}', 'export PYTHONPATH={bare}'),
    ],
)
def test_a_path_that_leads_to_another_mmclarity(path, command, tmp_path, monkeypatch, capsys):
    places = {}
    for name in ('here', 'there', 'bare'):
        places[name] = tmp_path / name / 'projects'
        (places[name] / 'mmclarity').mkdir(parents=True)
        if name != 'bare':  # a folder of that name is no package: what comes later has its place
            (places[name] / 'mmclarity/__init__.py').write_text('')
    monkeypatch.setenv('PYTHONPATH', path.format(**places))
    monkeypatch.setattr(check_env.python_path_problem, '__defaults__', (tmp_path / 'here',))
    assert check_env.main(['--python-path']) == (command is not None)
    what = f'WRONG: PYTHONPATH leads to another mmclarity: {places["there"]}/mmclarity\n'
    remedy = f'  mend it with:  {(command or "").format(**places)}\n'
    assert capsys.readouterr().out == (what + remedy if command else '')


def test_the_systems_python_is_pointed_to_the_environment(monkeypatch, capsys):
    monkeypatch.setattr(check_env, 'installed_versions', dict)
    monkeypatch.setattr(check_env, 'in_environment', lambda: False)
    assert check_env.main([]) == 1
    out = capsys.readouterr().out
    assert out.count('WRONG') == 1 and 'make check' in out


def run_script(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=900
    )


def test_report_works_where_nothing_can_be_imported():
    """-S leaves out site-packages: no torch, no mmengine, no numpy."""
    done = run_script('-S', str(SCRIPT))
    assert done.returncode == 1, done.stderr
    assert 'torch is not installed' in done.stdout and 'Traceback' not in done.stderr
    wrong = done.stdout.count('WRONG:')
    assert wrong == done.stdout.count('mend it with:') >= sum(item.needed for item in REQUIREMENTS)


def test_report_of_this_environment():
    done = run_script(str(SCRIPT))
    if done.stdout.count('WRONG:') == 1 and 'installed before it had mmclarity-' in done.stdout:
        pytest.skip('this environment was installed before the newest commands came: make env')
    assert done.returncode == 0, done.stdout
    assert 'All is well.' in done.stdout
    operators = [line for line in done.stdout.splitlines() if line.startswith('Operators')]
    assert operators and operators[0].split(': ')[1] in ('torchvision', 'compiled mmcv')
