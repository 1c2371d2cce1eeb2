# Plain Faster R-CNN on the embedded scenes (tools/dataset_generators/make_murky.py).
_base_ = [
    './_base_/models/frcnn_murky.py',
    './_base_/datasets/bdd100k.py',
    './_base_/schedules/small_12e.py',
    './_base_/default_runtime.py',
]
data_root = 'data/murky/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 192), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 192), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    {{_base_.pack_test}},
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    batch_sampler=None,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(by=('scene',), instance_attribute='degraded')
test_evaluator = val_evaluator

custom_hooks = [dict(type='RandomStateHook'), dict(type='MixedPrecisionHook', evaluation=True)]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=8)
