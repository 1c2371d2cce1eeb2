"""The console commands of an installation without a clone."""

import sys
from importlib import import_module

import pytest

from mmclarity.cli import commands
from tests.running import REPO, script, session

#: A session that has no package of OpenMMLab, as after a plain `pip install mmclarity`.
WITHOUT = """
import sys
for name in ('mmengine', 'mmcv', 'mmdet', 'mmagic', 'cv2'):
    sys.modules[name] = None
from mmclarity.cli import commands
sys.exit(commands.{}(['frcnn_murky.py', 'shipped'][:{}]))
"""


@pytest.mark.parametrize(('name', 'words'), [('train', 1), ('test', 2)])
def test_without_openmmlab_the_remedy_is_one_line(name, words):
    done = session(WITHOUT.format(name, words))
    assert done.returncode == 2, done.stderr
    told = f'mmclarity-{name}: error: mmengine is not installed: pip install "mmclarity[all]"'
    assert done.stderr.splitlines() == [told]


@pytest.mark.parametrize('name', ['train', 'test', 'export'])
def test_a_command_is_called_by_its_own_name(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [f'/usr/bin/mmclarity-{name}', '--help'])
    main = getattr(commands, name, None) or import_module(f'mmclarity.cli.{name}').main
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: mmclarity-{name} [-h]')


def test_tools_and_commands_are_one(tmp_path):
    """A mistake has the same words, each under its own name, and the same exit status."""
    argv = ['sa_frcnn_t32_murk.py']
    tool = script(tmp_path, 'tools/train.py', *argv)
    lines = 'import sys; from mmclarity.cli.commands import train; sys.argv[0] = "mmclarity-train"'
    command = session(f'{lines}; sys.exit(train({argv}))', folder=tmp_path)
    assert tool.returncode == command.returncode == 2
    assert tool.stderr.startswith('train.py: error: config not found: ')
    assert tool.stderr.removeprefix('train.py') == command.stderr.removeprefix('mmclarity-train')
    assert 'Did you mean sa_frcnn_t32_murky.py' in tool.stderr


def test_every_command_of_setup_is_there():
    text = (REPO / 'setup.py').read_text(encoding='utf-8')
    lines = [line.strip(" ',\n") for line in text.splitlines() if ' = mmclarity.cli.' in line]
    assert len(lines) == 8
    for line in lines:
        module, function = line.partition(' = ')[2].split(':')
        assert callable(getattr(import_module(module), function)), line
