# frcnn_bdd100k_fine with whole frames instead of crops in training: what a head that looks at the
# whole frame is trained on (see cached_frcnn_bdd100k_fine.py).
_base_ = './frcnn_bdd100k_fine.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale={{_base_.size}}, ratio_range=(0.9, 1.15), keep_ratio=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False),
    {{_base_.flip}},
    {{_base_.blank}},
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
