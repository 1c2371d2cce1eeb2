"""What ``test.py --tta`` makes of a config."""

import numpy as np
import pytest
from mmengine.config import Config

from mmclarity.cli.show import set_up_tta
from mmclarity.errors import UsageError

pytest.importorskip('mmdet')


def config(**roi_head):
    pipeline = [
        dict(type='mmdet.Resize', scale=(24, 12), keep_ratio=True),
        dict(type='mmdet.PackDetInputs', meta_keys=('img_id',)),
    ]
    dataset = dict(type='CocoDataset', pipeline=pipeline)
    model = dict(type='MaskRCNN', roi_head=dict(roi_head))
    return Config(dict(default_scope='mmdet', model=model, test_dataloader=dict(dataset=dataset)))


def test_an_image_is_seen_as_it_is_and_flipped():
    from mmcv.transforms import Compose
    from mmengine.registry import TRANSFORMS, DefaultScope

    cfg = config()
    set_up_tta(cfg)
    assert (cfg.model.type, cfg.model.module.type) == ('DetTTAModel', 'MaskRCNN')
    image = np.random.default_rng(0).integers(0, 255, (12, 24, 3), dtype=np.uint8)
    with DefaultScope.overwrite_default_scope('mmdet'):
        steps = [TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline]
        seen = Compose(steps)(dict(img=image, img_shape=(12, 24), ori_shape=(12, 24), img_id=3))
    flipped = [sample.flip for sample in seen['data_samples']]
    assert sorted(flipped) == [False, True]
    for picture, turned in zip(seen['inputs'], flipped):
        expected = image[:, ::-1] if turned else image
        np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), expected)


def test_masks_are_refused():
    """mmdet ends with an AssertionError at the first image."""
    with pytest.raises(UsageError, match='joins boxes, no masks'):
        set_up_tta(config(mask_head=dict(type='FCNMaskHead')))
    cfg = config(mask_head=dict(type='FCNMaskHead'))
    cfg.update(tta_model=dict(type='MyTTAModel'), tta_pipeline=[dict(type='Mine')])
    set_up_tta(cfg)
    assert cfg.model.type == 'MyTTAModel'
