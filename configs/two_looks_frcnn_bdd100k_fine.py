# context_frcnn_bdd100k_fine without attention: as good on the road, and cheaper. How it was
# trained: cached_two_looks_frcnn_bdd100k_fine.py.
_base_ = ['./frcnn_bdd100k_fine.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

second = dict(_base_.heads.closer_boxes, **_base_.heads.alone)
model = dict(
    with_second_look(_base_.model, _base_.heads, second=second, look_again=0.03),
    test_cfg=dict(rcnn=dict(_base_.heads.soft_suppression, _delete_=True)),
)
