# frcnn_aquarium with a second look at every proposal, together with the others of the photograph.
_base_ = ['./frcnn_aquarium.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

model = with_second_look(_base_.model, _base_.heads, **_base_.heads.closer_boxes)
