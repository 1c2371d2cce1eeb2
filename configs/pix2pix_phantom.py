# pix2pix_sem.py in minutes on two cores, on simulated spheres.
_base_ = [
    './_base_/models/sem_pix2pix.py',
    './_base_/datasets/sem_phantom.py',
    './_base_/schedules/pix2pix_iters.py',
    './_base_/restoration_runtime.py',
]
model = dict(generator=dict(base_channels=16, num_down=5), discriminator=dict(base_channels=16))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='RandomSEMCrop', size={{_base_.crop_size}}, key='gt', gain=(0.7, 1.2)),
            {{_base_.degradation}},
            dict(type='CopyValues', src_keys=['gt', 'img'], dst_keys=['img_high', 'img_low']),
            dict(type='PackInputs', keys=['img_low', 'img_high']),
        ]
    )
)
train_cfg = dict(max_iters=1000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0, end_factor=0.01, by_epoch=False, begin=500, end=1000),
]
