"""--groups, --categories and --manifest of tools/rsa.py: as lines, arrays and tables."""

import re

import numpy as np
import pytest

from mmclarity.rsa.report.tables import load_npz
from tests.tools.rsa_runs import COUNT, run

IDS = [f'im{i}' for i in range(COUNT)]
MOVIES = [f'movie {i // 3}' for i in range(COUNT)]


@pytest.fixture
def recorded(pictures):
    values = np.random.default_rng(1).normal(size=(COUNT, 20))
    np.savez(pictures / 'it.npz', it=values, ids=IDS)
    return pictures


def analysed(folder, *more):
    return run(folder, '--neural', f'IT={folder}/it.npz:it', '--figures', 'none', *more)


def shuffled(mark=',', name='{}.png'):
    """A table in an order of its own, as a spreadsheet has it."""
    order = np.random.default_rng(0).permutation(COUNT)
    lines = [mark.join(('image', 'movie'))]
    lines += [mark.join((name.format(IDS[i]), MOVIES[i])) for i in order]
    return '\r\n'.join(lines)


@pytest.mark.parametrize(
    'file,text',
    [
        ('movies.csv', '\ufeff' + shuffled()),
        ('movies.tsv', shuffled('\t', 'images/{}.png')),
        ('movies.csv', shuffled(name='{}')),
        ('movies.txt', '\ufeff' + '\r\n'.join(MOVIES)),
        ('movies.csv', '\n'.join(MOVIES)),
    ],
    ids=['table', 'tsv', 'ids', 'lines', 'lines in a csv'],
)
def test_groups_go_by_the_names_of_the_pictures(recorded, file, text):
    (recorded / file).write_text(text, encoding='utf-8', newline='')
    assert analysed(recorded, '--groups', recorded / file) == 0
    assert load_npz(recorded / 'out/rsa.npz').groups == MOVIES


def test_one_column_of_several(recorded, capsys):
    lines = [f'{name},{i % 2},{movie}' for i, (name, movie) in enumerate(zip(IDS, MOVIES))]
    (recorded / 'all.csv').write_text('\n'.join(['stimulus,side,movie', *lines]))
    assert analysed(recorded, '--groups', f'{recorded}/all.csv:movie') == 0
    assert load_npz(recorded / 'out/rsa.npz').groups == MOVIES
    assert analysed(recorded, '--categories', recorded / 'all.csv') == 2
    assert 'choose a column beside stimulus: side, movie' in capsys.readouterr().err


@pytest.mark.parametrize(
    'file,content,words',
    [
        ('x.txt', 'é\n'.encode('latin-1'), 'x.txt cannot be read: .*label a line'),
        ('x.npz', b'PK\x03\x04', 'x.npz cannot be read'),
        ('x.csv', b'im0,a\nim1,b\n', 'x.csv begins with a picture; give it a first line'),
        ('x.csv', b'id,movie\na,b\nc,d\n', 'x.csv has no column with the names of the pictures'),
        ('x.csv', b'id,movie\nim0,a\nim1,a\n', "lacks the stimulus 'im2'.*im1, ...$"),
        ('x.txt', '\n'.join(IDS).encode(), 'every stimulus is a group of its own .im0, ...'),
    ],
)
def test_what_cannot_be_groups(recorded, capsys, file, content, words):
    (recorded / file).write_bytes(content)
    assert analysed(recorded, '--groups', recorded / file) == 2
    told = capsys.readouterr().err.strip()
    assert re.search(words, told), told
    assert str(recorded / file) in told and not (recorded / 'out').exists()


@pytest.mark.parametrize('mark,end', [(';', 'csv'), ('\t', 'tsv'), (', ', 'csv')])
def test_manifests_of_spreadsheets(recorded, mark, end):
    lines = [mark.join(('id', 'file')), *(mark.join((name, f'{name}.png')) for name in IDS)]
    path = recorded / f'list.{end}'
    path.write_text('\n'.join(lines))
    assert analysed(recorded, '--manifest', path) == 0
    assert load_npz(recorded / 'out/rsa.npz').ids == IDS
