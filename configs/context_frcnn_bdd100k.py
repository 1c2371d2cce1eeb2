# frcnn_bdd100k with a second look at every proposal, together with the others of the frame. Both
# looks move a box by one set of numbers, whatever its class, as in a Cascade R-CNN. The rest as in
# context_frcnn_bdd100k_fine.py, which was chosen on a small backbone; not trained here.
_base_ = ['./frcnn_bdd100k.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

model = dict(
    with_second_look(
        _base_.model,
        _base_.heads,
        second=_base_.heads.closer_boxes,
        look_again=0.03,
        reg_class_agnostic=True,
    ),
    test_cfg=dict(rcnn=dict(_base_.heads.soft_suppression, _delete_=True)),
)
