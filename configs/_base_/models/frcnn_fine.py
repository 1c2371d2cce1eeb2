# frcnn_small for small objects: a feature pyramid from stride 4 on, anchors of 13 to 205 pixels
# (the median box of BDD100K at 960x540 has a side of 21), and small RoIs pooled at stride 4.
# Trained from stride 8 on.
_base_ = './frcnn_small.py'
strides = [4, 8, 16, 32, 64]
channels = 64
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4), frozen_stages=1),
    neck=dict(in_channels=[24, 40, 112, 320], out_channels=channels, num_outs=5),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[3.2], ratios=[0.5, 1.0, 2.0], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=channels, featmap_strides=strides[:4], finest_scale=40
        ),
        bbox_head=dict(in_channels=channels),
    ),
)
