"""`make demo-rsa`: what it runs, what it goes on from, and what it says."""

from pathlib import Path

import demo_rsa
import pytest
from mmengine.config import Config, DictAction

import demo_steps
from mmclarity.engine.config import load_config
from mmclarity.rsa.report import tables as report
from tests.running import script

ROOT = Path(__file__).resolve().parents[2]


def test_options_point_the_config_to_the_data(tmp_path):
    """Every override names a key the config has; a misspelt one would be added silently."""
    args = demo_rsa.parse_args(['--data-root', str(tmp_path), '--epochs', '3'])
    cfg = Config.fromfile(ROOT / demo_rsa.CONFIG)
    given = {}
    for item in demo_rsa.options(args):
        key, value = item.split('=', 1)
        node = cfg
        for part in key.split('.'):
            node = node[int(part) if part.isdigit() else part]
        given[key] = DictAction._parse_iterable(value)
    cfg = load_config(str(ROOT / demo_rsa.CONFIG), given)
    assert cfg.train_cfg.max_epochs == 3 and cfg.data_root == f'{tmp_path}/'
    hook = cfg.custom_hooks[1]
    assert hook.type == 'RSAHook'
    assert hook.stimuli == dict(
        folder=str(tmp_path / 'stimuli'), manifest=str(tmp_path / 'stimuli' / 'manifest.csv')
    )
    assert hook.areas == dict(
        V1_simple=f'{tmp_path}/v1.npz:simple', V1_complex=f'{tmp_path}/v1.npz:complex'
    )


def test_only_the_same_run_goes_on(tmp_path, capsys):
    def prepare(*options):
        folder = demo_rsa.prepare(demo_rsa.parse_args(['--work-dir', str(tmp_path), *options]))
        kept = (folder / 'epoch_1.pth').exists()
        folder.mkdir(exist_ok=True)
        (folder / 'epoch_1.pth').touch()
        return kept

    assert not prepare('--quick')
    assert prepare('--quick')
    assert not prepare()  # other stimuli
    assert 'starts anew' in capsys.readouterr().out
    assert prepare()
    assert not prepare('--epochs', '3')
    assert not prepare('--epochs', '3', '--restart')
    (tmp_path / demo_steps.STATE).write_text('{')
    assert not prepare('--epochs', '3')


def test_nothing_to_show(tmp_path):
    with pytest.raises(demo_rsa.DemoError, match='no analysis'):
        demo_rsa.summarise(tmp_path)


@pytest.mark.parametrize('value', ['0', '-1', 'x'])
def test_bad_epochs(value):
    with pytest.raises(SystemExit) as error:
        demo_rsa.parse_args(['--epochs', value])
    assert error.value.code == 2


def test_a_failing_step_is_named(tmp_path, capsys):
    (tmp_path / 'mine.txt').touch()
    code = demo_rsa.main(['--data-root', str(tmp_path), '--work-dir', str(tmp_path / 'run')])
    assert code == 1 and '1/2 The data set' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_quick_then_longer_run(tmp_path):
    """The second run has other stimuli: nothing of the first is in its curves."""
    command = ['demo/demo_rsa.py', '--work-dir', tmp_path]
    for options, counts in (
        (['--data-root', str(tmp_path / 'few'), '--quick'], [16, 16]),
        (['--data-root', str(tmp_path / 'all'), '--epochs', '1'], [64, 64]),
    ):
        done = script(tmp_path, *command, *options)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        files = sorted((tmp_path / 'train' / 'rsa').glob('epoch_*.npz'))
        assert [len(report.load_npz(file).ids) for file in files] == counts
        assert 'epoch   0: most like V1_simple' in done.stdout
        assert 'train/rsa/heat_map.png' in done.stdout
