# Both looks of context_frcnn_aquarium, from a cache of frcnn_aquarium's trained trunk: what
# cached_context_frcnn_bdd100k_fine is, with the classes and the test images of this data set.
_base_ = ['./cached_context_frcnn_bdd100k_fine.py', './_base_/datasets/aquarium.py']
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(640, 640))
looks = [
    dict(look, num_classes=_base_.aquarium.num_classes) for look in _base_.model.roi_head.bbox_head
]
model = dict(roi_head=dict(bbox_head=looks))
test_dataloader = dict(dataset=dict(_base_.aquarium.val, _delete_=True, pipeline=test_pipeline))
