"""CSV files that pandas, numpy and spreadsheets read alike, and Markdown tables."""

import csv
import io

import numpy as np
import pytest

from mmclarity.utils import tables


def test_undefined_numbers_are_empty_whatever_they_are():
    text = tables.csv_text(
        ['a', 'b'],
        [[None, np.nan], [float('inf'), np.float32('nan')], ['', 1], [np.int64(7), 0.1234567]],
    )
    assert text == 'a,b\n,\n,\n,1\n7,0.123457\n'


def test_numpy_reads_empty_fields_as_missing():
    text = tables.csv_text(['x', 'y'], [[1.5, None], [2, 3e-7]])
    read = np.genfromtxt(io.StringIO(text), delimiter=',', names=True)
    np.testing.assert_array_equal(read['x'], [1.5, 2])
    np.testing.assert_array_equal(read['y'], [np.nan, 3e-7])


def test_texts_survive(tmp_path):
    rows = [['a,b', 'say "x"'], ['two\nlines', 'ä']]
    tables.write_csv(tmp_path / 'new' / 'a.csv', ['p', 'q'], rows)
    with (tmp_path / 'new' / 'a.csv').open(newline='', encoding='utf-8') as file:
        assert list(csv.reader(file)) == [['p', 'q'], *rows]


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match='3 values for 2 columns'):
        tables.csv_text(['a', 'b'], [[1, 2, 3]])
    with pytest.raises(ValueError, match='1 cells for 2 columns'):
        tables.markdown_table(['a', 'b'], [['x']])


def test_true_and_false_are_words():
    assert tables.csv_text(['a'], [[True]]) == 'a\nTrue\n'


def test_markdown():
    assert tables.markdown_table(['a', 'b|c'], [['x', '1']]) == (
        '| a | b\\|c |\n| --- | ---: |\n| x | 1 |'
    )
    assert '| :---: |' in tables.markdown_table(['a'], [], align='c')


@pytest.mark.parametrize(
    ('value', 'text'),
    [(0.5, '0.5'), (1234567.0, '1.23457e+06'), (None, ''), (np.nan, ''), (0, '0')],
)
def test_number(value, text):
    assert tables.number(value) == text
    if not text:
        assert tables.number(value, undefined=tables.NOT_AVAILABLE) == 'N/A'
