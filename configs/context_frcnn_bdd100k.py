# frcnn_bdd100k with a second look at every proposal, together with the others of the frame. Both
# looks move a box by one set of numbers, whatever its class, as in a Cascade R-CNN. The rest as in
# context_frcnn_bdd100k_fine.py, which was chosen on a small backbone; not trained here.
_base_ = ['./frcnn_bdd100k.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

model = with_second_look(
    _base_.model, _base_.heads, **_base_.heads.closer_boxes, reg_class_agnostic=True
)
