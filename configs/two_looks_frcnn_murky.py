# context_frcnn_murky without attention: what the second look wins here by itself.
_base_ = './context_frcnn_murky.py'
first, second = _base_.model.roi_head.bbox_head
model = dict(roi_head=dict(bbox_head=[first, dict(second, **_base_.heads.alone)]))
