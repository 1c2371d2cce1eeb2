"""mmdet's own data sets see images as a viewer shows them, whatever the format."""

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.registry import DefaultScope
from PIL import Image

import mmclarity.detection  # noqa: F401  (registers the transform)
from mmclarity.detection.datasets.transforms import LoadUprightImage


@pytest.mark.parametrize('suffix', ['webp', 'jpg', 'png', 'tif'])
def test_coco_images_lie_upright(suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :6] = 250  # stored at the left: shown at the top
    options = dict(lossless=True) if suffix == 'webp' else {}
    Image.fromarray(pixels).save(tmp_path / f'a.{suffix}', exif=exif, **options)
    labels = dict(
        images=[dict(id=1, file_name=f'a.{suffix}', width=20, height=30)],
        categories=[dict(id=1, name='car')],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 9, 9], area=81, iscrowd=0)],
    )
    (tmp_path / 'a.json').write_text(json.dumps(labels))
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='CocoDataset',
                ann_file=str(tmp_path / 'a.json'),
                data_prefix=dict(img=str(tmp_path)),
                metainfo=dict(classes=('car',)),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='PackDetInputs', meta_keys=('ori_shape',)),
                ],
            )
        )
        data = dataset[0]
    image = data['inputs'].numpy()
    assert image.shape == (3, 30, 20) and data['data_samples'].ori_shape == (30, 20)
    assert image[:, :5].mean() > 200 > 60 > image[:, 8:].mean()


def test_the_name_of_mmcv_is_taken_in_mmdets_registry_only():
    from mmcv.transforms import TRANSFORMS as OF_MMCV

    assert TRANSFORMS.get('LoadImageFromFile') is LoadUprightImage
    assert OF_MMCV.get('LoadImageFromFile') is not LoadUprightImage
