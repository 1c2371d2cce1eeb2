# context_frcnn_bdd100k_fine without attention: scores count how well boxes fit, the proposals on
# one object agree on its box, suppression is soft (docs/benchmarks/bdd100k.md). How it was
# trained: cached_two_looks_frcnn_bdd100k_fine.py.
_base_ = ['./frcnn_bdd100k_fine.py', './_base_/heads.py']
box_head, rcnn = _base_.model.roi_head.bbox_head, _base_.model.train_cfg.rcnn
looks = _base_.heads.two_looks_at_boxes
closer = dict(rcnn.assigner, **_base_.heads.second_look)
model = dict(
    roi_head=dict(
        looks,
        _delete_=True,
        bbox_roi_extractor=_base_.model.roi_head.bbox_roi_extractor,
        bbox_head=[dict(box_head, **look) for look in looks.bbox_head],
    ),
    train_cfg=dict(rcnn=[rcnn, dict(rcnn, assigner=closer)]),
    test_cfg=dict(rcnn=dict(_base_.heads.soft_suppression, _delete_=True)),
)
