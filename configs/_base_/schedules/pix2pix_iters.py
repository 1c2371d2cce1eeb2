# As long as the U-nets of sem_iters.py. Generator and discriminator have an optimiser each, with
# the published rate and momentum.
max_iters = 4000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
adam = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999))
optim_wrapper = dict(
    constructor='MultiOptimWrapperConstructor',
    generators=dict(type='AutocastOptimWrapper', optimizer=adam),
    discriminators=dict(type='AutocastOptimWrapper', optimizer=adam),
)
model_wrapper_cfg = dict(type='AveragedGradients')
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.01,
        by_epoch=False,
        begin=max_iters // 2,
        end=max_iters,
    ),
]
custom_hooks = [dict(type='RandomStateHook'), dict(type='MixedPrecisionHook', float32=[])]
