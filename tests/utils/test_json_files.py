"""Labels, plain and packed, and what is wrong with them."""

import gzip
import json

import pytest

from mmclarity.utils.json_files import LabelFileError, read_json, write_json


def test_packed_labels_are_read(tmp_path):
    content = [dict(name='ä.jpg', labels=[1, 2.5, None])]
    data = gzip.compress(json.dumps(content).encode())
    (tmp_path / 'a.json.gz').write_bytes(data)
    assert read_json(tmp_path / 'a.json.gz') == content
    (tmp_path / 'a.json.gz').write_bytes(data[:-9])
    with pytest.raises(LabelFileError, match=r'a\.json\.gz: the packed file is cut off'):
        read_json(tmp_path / 'a.json.gz')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'is empty'),
        ('[1, 2', 'cut off'),
        ('[1, 2]]', 'not valid JSON'),
        ('[' * 100000, 'nested too deeply'),
        ('9' * 5000, 'a.json'),
    ],
)
def test_what_is_wrong(tmp_path, text, words):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(LabelFileError, match=words):
        read_json(tmp_path / 'a.json')


def test_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / 'new' / 'a.json', [1])
    with pytest.raises(ValueError, match='Out of range'):
        write_json(tmp_path / 'new' / 'a.json', [float('nan')])
    assert read_json(tmp_path / 'new' / 'a.json') == [1]
    assert len(list((tmp_path / 'new').iterdir())) == 1
