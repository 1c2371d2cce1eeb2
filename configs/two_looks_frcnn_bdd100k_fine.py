# context_frcnn_bdd100k_fine without attention: scores count how well boxes fit, the proposals on
# one object agree on its box, suppression is soft (docs/benchmarks/bdd100k.md). How it was
# trained: cached_two_looks_frcnn_bdd100k_fine.py.
_base_ = ['./frcnn_bdd100k_fine.py', './_base_/heads.py']
from mmclarity.detection.second_look import with_second_look

model = dict(
    with_second_look(_base_.model, dict(_base_.heads, two_looks=_base_.heads.two_looks_at_boxes)),
    test_cfg=dict(rcnn=dict(_base_.heads.soft_suppression, _delete_=True)),
)
