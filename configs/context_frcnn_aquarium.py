# frcnn_aquarium with a second look at every proposal, together with the others of the photograph.
_base_ = ['./frcnn_aquarium.py', './_base_/heads.py']
box_head = _base_.model.roi_head.bbox_head
rcnn = _base_.model.train_cfg.rcnn
looks = _base_.heads.two_looks
first, second = (dict(box_head, **look) for look in looks.bbox_head)
second.update(bbox_coder=dict(box_head.bbox_coder, target_stds=[0.05, 0.05, 0.1, 0.1]))
strict = dict(rcnn.assigner, pos_iou_thr=0.6, neg_iou_thr=0.6, min_pos_iou=0.6)
model = dict(
    roi_head=dict(
        looks,
        _delete_=True,
        bbox_roi_extractor=_base_.model.roi_head.bbox_roi_extractor,
        bbox_head=[first, second],
    ),
    train_cfg=dict(rcnn=[rcnn, dict(rcnn, assigner=strict)]),
)
