# context_frcnn_bdd100k_fine without attention: as good on the road, and cheaper; of the detectors
# that ship it is the default. How it was trained, along with its trunk: docs/benchmarks/bdd100k.md.
_base_ = './context_frcnn_bdd100k_fine.py'
first, second = _base_.model.roi_head.bbox_head
model = dict(roi_head=dict(bbox_head=[first, dict(second, **_base_.heads.alone)]))
