# The baseline that fabricates: mmagic's Pix2Pix on one channel, on the same data for as long.
_base_ = [
    './_base_/models/sem_pix2pix.py',
    './_base_/datasets/sem_pairs.py',
    './_base_/schedules/pix2pix_iters.py',
    './_base_/restoration_runtime.py',
]
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
