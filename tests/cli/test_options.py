"""``--cfg-options`` as they are read of a command line."""

import argparse

import pytest
from mmengine.config import DictAction

from mmclarity.cli.options import ConfigOptions


def read(*words, action=ConfigOptions):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    'text',
    [
        *('3', '3.5', '1e-3', 'None', 'true', 'False', 'a/b.json', '', 'a=b', "'text'", '"3"'),
        *('1,2,3', 'a,b', '[a,b]', '[a]', '[]', '(3)', '(1,2)', '[(1,2),(3,4)]', '[[a],(1,b),c]'),
        *("['a','b']", "'[a,b]'", "'a','b'", '[1,]', 'a(1', '/data/x(1)/', '[None,True,.5]'),
    ],
)
def test_what_mmengine_reads_is_read_alike(text):
    assert read(f'key={text}') == read(f'key={text}', action=DictAction)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my data/a b/', '/my data/a b/'),
        ("['traffic light', 'car']", ['traffic light', 'car']),
        ('[traffic light, car]', ['traffic light', 'car']),
        ("[car, 'traffic light']", ['car', 'traffic light']),
        ("'/data/a, b/'", '/data/a, b/'),
        ("[{'type': 'EMAHook', 'momentum': 1e-3}]", [dict(type='EMAHook', momentum=0.001)]),
        ("{'type': 'nms', 'ids': (1, 2)}", dict(type='nms', ids=(1, 2))),
    ],
)
def test_what_mmengine_spoils(text, value):
    """Spaces are gone there ('trafficlight'), text is split at commas, dicts never end."""
    assert read(f'key={text}') == dict(key=value)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('data_root', "'data_root' is no KEY=VALUE"),
        ('=3', "'=3' is no KEY=VALUE"),
        ("hooks=[dict(type='EMAHook'), a]", "hooks: a dict is written {'type': 'NAME'"),
        ('a={type: b}', 'a: a dict is written'),
        ('a=[1,(2,3]', 'a: brackets without their other half in'),
    ],
)
def test_what_cannot_be_read_is_named(word, message, capsys):
    with pytest.raises(SystemExit) as ended:
        read(word)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_options_given_twice_are_joined():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    found = parser.parse_args(['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'a=3'])
    assert found.cfg_options == dict(a=3, b=2)
