# Iterations of one small machine: AdamW, bfloat16 with channels-last, averaged weights.
max_iters = 4000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-5, by_epoch=False, begin=0),
]
# The averaged weights are the ones that are validated, and the model of the checkpoint.
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook', float32=[]),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.005),
]
