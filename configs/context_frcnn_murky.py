# frcnn_murky with a second look at every proposal, together with the others of the scene.
_base_ = ['./frcnn_murky.py', './_base_/heads.py']
box_head, rcnn = _base_.model.roi_head.bbox_head, _base_.model.train_cfg.rcnn
looks = _base_.heads.two_looks
closer = dict(rcnn.assigner, **_base_.heads.second_look)
model = dict(
    roi_head=dict(
        looks,
        _delete_=True,
        bbox_roi_extractor=_base_.model.roi_head.bbox_roi_extractor,
        bbox_head=[dict(box_head, **look) for look in looks.bbox_head],
    ),
    train_cfg=dict(rcnn=[rcnn, dict(rcnn, assigner=closer)]),
)
