"""What the guide makes of labels of other programs, by boxes that are known."""

import json

import pytest
from mmdet.datasets import CocoDataset
from PIL import Image

from tests.docs.guides import ROOT, blocks

GUIDE = ROOT / 'docs/user_guides/your_own_data.md'
RIGHT = [10.0, 20.0, 50.0, 51.0]  # columns 10 to 49 and rows 20 to 50, from zero
# What labelformat 0.1.17 wrote of YOLO's label of this object, of a VOC file with its corners
# (10, 20, 50, 51), and of one in Pascal VOC's own way (11, 21, 50, 51): pixels from one.
MADE = {
    'yolo': ([10.0, 20.0, 40.0, 31.0], False),
    'voc, corners': ([10.0, 20.0, 40.0, 31.0], False),
    'voc, whole pixels': ([11.0, 21.0, 39.0, 30.0], True),
}


@pytest.mark.parametrize('kind', MADE)
def test_boxes_of_other_formats_reach_mmdet_as_they_were(kind, tmp_path, monkeypatch):
    box, whole_pixels = MADE[kind]
    made = dict(
        images=[dict(id=0, file_name='a.jpg', width=256, height=160)],
        categories=[dict(id=0, name='boat'), dict(id=1, name='harbour seal')],
        annotations=[dict(image_id=0, category_id=1, bbox=box)],
    )
    folder = tmp_path / 'data/mine/train'
    folder.mkdir(parents=True)
    Image.new('RGB', (256, 160)).save(folder / 'a.jpg')
    (tmp_path / 'data/mine/train.json').write_text(json.dumps(made))
    monkeypatch.chdir(tmp_path)
    (code,) = (b.code for b in blocks('python') if b.page == GUIDE and 'whole_pixels' in b.code)
    if whole_pixels:
        assert "('data/mine/train.json'), False" in code
        code = code.replace("('data/mine/train.json'), False", "('data/mine/train.json'), True")
    exec(code, {})
    dataset = CocoDataset(
        ann_file='data/mine/train.json',
        data_prefix=dict(img='data/mine/train/'),
        metainfo=dict(classes=('boat', 'harbour seal')),
    )
    (instance,) = dataset.get_data_info(0)['instances']
    assert instance['bbox'] == RIGHT and instance['bbox_label'] == 1
