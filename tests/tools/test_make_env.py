"""make_env.sh: makes an environment, mends a broken one, and says why it can not."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path):
    """A clone whose requirements are a package made here; a stand-in for pip installs it."""
    if shutil.which('make') is None:
        pytest.skip('make is not installed')
    (tmp_path / 'tools/env').mkdir(parents=True)
    shutil.copy(ROOT / 'Makefile', tmp_path)
    for file in (*ROOT.glob('tools/env/*.py'), *ROOT.glob('tools/env/*.sh')):
        shutil.copy(file, tmp_path / 'tools/env')
    (tmp_path / 'setup.py').write_text("INSTALL_REQUIRES = ['tiny>=1']\n")
    (tmp_path / 'requirements.txt').write_text('tiny==1.0\n')
    (tmp_path / 'requirements-dev.txt').write_text('-r requirements.txt\n')
    (tmp_path / 'requirements-nodeps.txt').write_text('alone==1.0\n')
    (tmp_path / 'projects/mmclarity').mkdir(parents=True)
    (tmp_path / 'projects/mmclarity/__init__.py').write_text('')
    # `python -m pip` in the environment is this file: it notes its call, then installs.
    (tmp_path / 'fake_pip.py').write_text(
        textwrap.dedent("""
        import pathlib, sys, sysconfig
        site = pathlib.Path(sysconfig.get_paths()['purelib'])
        with open('calls', 'a') as calls:
            print(*sys.argv[1:], file=calls)
        if __name__ == '__main__' and sys.argv[-2:] == ['-e', '.']:
            (site / '__editable__.pth').write_text(str(pathlib.Path('projects').resolve()))
            info = site / 'mmclarity-1.0.dist-info'
            info.mkdir(exist_ok=True)
            (site / 'mmclarity.pth').touch()
            (info / 'direct_url.json').write_text('{}')
            head = 'Metadata-Version: 2.1\\nName: mmclarity\\nVersion: 1.0\\n'
            (info / 'METADATA').write_text(head)
        elif __name__ == '__main__' and not pathlib.Path('no-network').exists():
            name = 'alone' if 'requirements-nodeps.txt' in sys.argv else 'tiny'
            (site / f'{name}.py').write_text('VALUE = 1\\n')
            info = site / f'{name}-1.0.dist-info'
            info.mkdir(exist_ok=True)
            head = f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n'
            (info / 'METADATA').write_text(head)
            (info / 'RECORD').write_text(f'{name}.py,,10\\n{name}-1.0.dist-info/RECORD,,\\n')
        elif __name__ == '__main__':
            sys.exit('no network')
    """)
    )
    wrapper = tmp_path / 'python-of-this-test'
    wrapper.write_text(
        textwrap.dedent(f"""\
        #!/bin/sh
        # `-m venv DIR` makes an environment without pip (fast) and puts the stand-in there.
        if [ "$1 $2" = "-m venv" ]; then
            "{sys.executable}" -m venv --without-pip "$3" || exit 1
            site=$("$3/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
            cp fake_pip.py "$site/pip.py"
            exit 0
        fi
        exec "{sys.executable}" "$@"
    """)
    )
    wrapper.chmod(0o755)
    return tmp_path


def make_env(clone: Path, **variables: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run ``make env`` with pip; returns the process and the calls of pip."""
    calls = clone / 'calls'
    calls.unlink(missing_ok=True)
    env = {**os.environ, 'UV': '', 'PYTHON': str(clone / 'python-of-this-test')}
    env.pop('MAKEFLAGS', None)
    env.pop('PYTHONPATH', None)  # the environment itself must know where mmclarity is
    env.update(variables)
    done = subprocess.run(
        ['make', '-s', 'env'], cwd=clone, env=env, capture_output=True, text=True, timeout=600
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [line for line in lines if line.startswith('install')]


def site_packages(clone: Path) -> Path:
    return next((clone / '.venv/lib').glob('python3*/site-packages'))


def test_make_env_is_idempotent_and_follows_the_requirements(clone):
    done, calls = make_env(clone)
    assert done.returncode == 0, done.stderr
    assert len(calls) == 3 and '-r requirements-dev.txt' in calls[0]
    assert calls[1].endswith('--no-deps -r requirements-nodeps.txt')
    assert calls[2].endswith('--no-deps -e .')
    assert make_env(clone)[1] == [], 'nothing to do the second time'
    for name in ('requirements.txt', 'requirements-dev.txt', 'requirements-nodeps.txt', 'setup.py'):
        with (clone / name).open('a') as file:
            file.write('# newer\n')
        assert len(make_env(clone)[1]) == 3
        assert make_env(clone)[1] == []
    # Installed: `import mmclarity` works in any folder.
    done = subprocess.run(
        [clone / '.venv/bin/python', '-c', 'import mmclarity; print(mmclarity.__file__)'],
        capture_output=True,
        text=True,
        cwd='/',
        env={key: value for key, value in os.environ.items() if key != 'PYTHONPATH'},
    )
    assert done.stdout.strip() == str(clone / 'projects/mmclarity/__init__.py'), done.stderr


@pytest.mark.parametrize(
    'fault',
    ['cut', 'deleted', 'no stamp', 'no pip', 'no python', 'empty', 'not installed', 'elsewhere']
    + ['no start-up file'],
)
def test_make_env_mends_what_is_broken(clone, fault):
    assert make_env(clone)[0].returncode == 0
    site = site_packages(clone)
    if fault == 'cut':
        (site / 'tiny.py').write_text('V')
    elif fault == 'deleted':
        (site / 'tiny.py').unlink()
    elif fault == 'no stamp':  # the installation was interrupted
        (clone / '.venv/.requirements-installed').unlink()
        shutil.rmtree(site / 'tiny-1.0.dist-info')
    elif fault == 'no pip':
        (site / 'pip.py').unlink()
    elif fault == 'no python':
        for path in (clone / '.venv/bin').glob('python*'):
            path.unlink()
        (clone / '.venv/bin/python').symlink_to('/nonexistent/python3')
    elif fault == 'not installed':
        shutil.rmtree(site / 'mmclarity-1.0.dist-info')
    elif fault == 'elsewhere':  # the clone has been moved, or another one was installed here
        (site / '__editable__.pth').write_text('/nonexistent/projects')
    elif fault == 'no start-up file':
        (site / 'mmclarity.pth').unlink()
    else:
        shutil.rmtree(clone / '.venv')
        (clone / '.venv').mkdir()
    done, calls = make_env(clone)
    assert done.returncode == 0, done.stderr
    assert calls, 'pip was asked to install'
    assert (site / 'tiny.py').read_text() == 'VALUE = 1\n'
    assert make_env(clone)[1] == []


def test_make_env_takes_uv_where_it_is_installed(clone):
    """The stand-in for uv notes its call and hands it to the stand-in for pip."""
    uv = clone / 'uv-of-this-test'
    uv.write_text(
        '#!/bin/sh\necho "$@" >> uv-calls\n'
        '[ "$1 $2 $3" = "pip install --python" ] || exit 2\n'
        'python=$4; shift 4; exec "$python" -m pip install "$@"\n'
    )
    uv.chmod(0o755)
    done, _ = make_env(clone, UV=str(uv))
    assert done.returncode == 0, done.stderr
    calls = (clone / 'uv-calls').read_text().splitlines()
    assert len(calls) == 3 and all('.venv/bin/python' in call for call in calls)
    (site_packages(clone) / 'tiny.py').write_text('V')
    assert make_env(clone, UV=str(uv))[0].returncode == 0
    assert (site_packages(clone) / 'tiny.py').read_text() == 'VALUE = 1\n'
    done, calls = make_env(clone, UV=str(clone / 'not-there'))
    assert done.returncode == 0 and calls == [], 'without uv the same environment is in order'


def test_make_env_fails_and_leaves_no_stamp_when_the_installation_fails(clone):
    (clone / 'no-network').touch()
    done, _ = make_env(clone)
    assert done.returncode != 0 and 'no network' in done.stderr
    assert not (clone / '.venv/.requirements-installed').exists()
    (clone / 'no-network').unlink()
    assert make_env(clone)[0].returncode == 0


@pytest.mark.parametrize('made', [True, False])
def test_a_path_that_leads_elsewhere_is_told_and_nothing_is_touched(clone, tmp_path, made):
    """Each try would install some GB, and mend nothing."""
    if made:
        assert make_env(clone)[0].returncode == 0
        before = (clone / '.venv/bin').stat().st_ino
    other = clone / 'other'
    (other / 'mmclarity').mkdir(parents=True)
    (other / 'mmclarity/__init__.py').write_text('')
    done, calls = make_env(clone, PYTHONPATH=f'{other}:/elsewhere')
    assert done.returncode != 0 and calls == []
    assert f'WRONG: PYTHONPATH leads to another mmclarity: {other}/mmclarity' in done.stderr
    assert 'mend it with:  export PYTHONPATH=/elsewhere' in done.stderr
    if made:
        assert (clone / '.venv/bin').stat().st_ino == before
    done, calls = make_env(clone, PYTHONPATH=str(clone / 'projects'))  # the same one: no harm
    assert done.returncode == 0 and len(calls) == (0 if made else 3)


def test_what_is_still_wrong_is_told_with_its_remedy(clone):
    """As where another environment's packages come first."""
    assert make_env(clone)[0].returncode == 0
    old = clone / 'old/tiny-0.9.dist-info'
    old.mkdir(parents=True)
    (old / 'METADATA').write_text('Metadata-Version: 2.1\nName: tiny\nVersion: 0.9\n')
    (old / 'RECORD').write_text('')
    done, _ = make_env(clone, PYTHONPATH=str(clone / 'old'))
    assert done.returncode != 0 and 'error: still not in order:' in done.stderr
    assert 'WRONG: tiny 0.9 is not in >=1' in done.stderr and 'mend it with:' in done.stderr


def test_make_env_says_so_when_there_is_no_python(clone):
    tools = clone / 'bin'
    tools.mkdir()
    for name in ('sh', 'cmp', 'cat', 'dirname', 'rm'):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ['/bin/sh', 'tools/env/make_env.sh'],
        cwd=clone,
        env={'PATH': str(tools)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'no usable Python' in done.stderr and 'apt-get install' in done.stderr
