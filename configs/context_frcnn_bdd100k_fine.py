# frcnn_bdd100k_fine with a second look: every proposal is judged once on its own, then again where
# the first judgement has moved it, together with the others of the frame. Scores count how well
# boxes fit, the proposals on one object agree on its box, and suppression is soft: see
# docs/benchmarks/bdd100k.md. How it was trained: cached_context_frcnn_bdd100k_fine.py.
_base_ = ['./frcnn_bdd100k_fine.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

model = with_second_look(_base_.model, _base_.heads, **_base_.heads.closer_boxes)
