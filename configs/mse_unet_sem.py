# The baseline that blurs: a U-net with mean squared error.
_base_ = [
    './_base_/models/sem_unet.py',
    './_base_/datasets/sem_pairs.py',
    './_base_/schedules/sem_iters.py',
    './_base_/restoration_runtime.py',
]
