# mse_unet_sem.py in minutes on two cores, on simulated spheres.
_base_ = [
    './_base_/models/sem_unet.py',
    './_base_/datasets/sem_phantom.py',
    './_base_/schedules/sem_iters.py',
    './_base_/restoration_runtime.py',
]
model = dict(generator=dict(base_channels=16, depth=3))
train_cfg = dict(max_iters=1000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=1000, eta_min=1e-5, by_epoch=False, begin=0),
]
