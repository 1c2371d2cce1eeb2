"""The flat list of regions and its padded view."""

import pytest
import torch

from mmclarity.detection.attention import RegionBatch


def rois_of(images):
    n = len(images)
    boxes = torch.arange(4.0 * n).view(n, 4)
    return torch.cat([torch.tensor(images, dtype=torch.float)[:, None], boxes], 1)


@pytest.mark.parametrize(
    'images,num_images,dense',
    [
        ([0, 0, 0], 1, True),
        ([0, 0, 1, 1], 2, True),
        ([], 2, True),
        ([], 1, True),
        ([0, 1, 0, 1], 2, False),
        ([0, 1, 1], 2, False),
        ([1, 1], 2, False),
        ([2, 0, 2], 3, False),
    ],
)
def test_padding_and_back(images, num_images, dense):
    batch = RegionBatch(rois_of(images), num_images)
    assert len(batch) == len(images) and batch.is_dense == dense
    assert batch.counts == [images.count(i) for i in range(num_images)]
    x = torch.randn(len(images), 3, 2)
    padded = batch.pad(x)
    assert padded.shape == (num_images, max(batch.counts), 3, 2)
    for i in range(num_images):
        mine = [n for n, image in enumerate(images) if image == i]
        assert torch.equal(padded[i, : len(mine)], x[mine])
        assert not padded[i, len(mine) :].any()
    assert torch.equal(batch.unpad(padded), x)


def test_key_mask_joins_padding_and_validity():
    rois = rois_of([1, 0, 1])
    assert RegionBatch(rois_of([0, 0]), 1).key_mask is None
    assert RegionBatch(rois, 2).key_mask.tolist() == [[True, False], [True, True]]
    valid = torch.tensor([True, True, False])
    assert RegionBatch(rois, 2, valid).key_mask.tolist() == [[True, False], [True, False]]
    assert RegionBatch(rois_of([0, 0]), 1, valid[1:]).key_mask.tolist() == [[True, False]]


def test_select_keeps_boxes_images_and_validity():
    valid = torch.tensor([True, False, True, False])
    batch = RegionBatch(rois_of([0, 1, 0, 1]), 2, valid)
    part = batch.select(torch.tensor([3, 0]))
    assert part.image_index.tolist() == [1, 0] and part.key_valid.tolist() == [False, True]
    assert torch.equal(part.boxes, batch.boxes[[3, 0]])
    assert len(batch.select(slice(4, None))) == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r'\(N, 5\).*\(3, 4\)'):
        RegionBatch(torch.zeros(3, 4), 1)
    with pytest.raises(ValueError, match=r'\(2,\).*\(3,\)'):
        RegionBatch(rois_of([0, 0]), 1, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match='belongs to image 2, but the batch has 2'):
        RegionBatch(rois_of([0, 2]), 2).pad(torch.zeros(2, 3))
