# Faster R-CNN for one small machine: 640x360, EfficientNet-Lite0, bfloat16 on the CPU.
_base_ = [
    './_base_/models/frcnn_small.py',
    './_base_/datasets/bdd100k.py',
    './_base_/schedules/small_12e.py',
    './_base_/default_runtime.py',
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(640, 320), (640, 360), (704, 400)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 360), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    {{_base_.pack_test}},
]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
# S/M/L of the published tables are areas in frames of 1280x720. Where the frames are stored smaller
# (640x360: areas count four times), the factor follows from each frame's own size; full-size frames
# count as they are. The table says so. For areas as stored: area_reference = 1.0.
area_reference = (1280, 720)
val_evaluator = dict(area_scale=area_reference)
test_evaluator = val_evaluator

custom_hooks = [dict(type='RandomStateHook'), dict(type='MixedPrecisionHook', evaluation=True)]
