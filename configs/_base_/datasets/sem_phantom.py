# Made by tools/dataset_converters/make_sem_phantom.py; only clean images are trained on.
data_root = 'data/sem_phantom/'
crop_size = 96
degradation = dict(type='SimulateLowCostSEM')

train_pipeline = [
    dict(type='RandomSEMCrop', size=crop_size, key='gt', gain=(0.7, 1.2)),
    degradation,
    dict(type='PackInputs', keys=['img']),
]
test_pipeline = [dict(type='PackInputs', keys=['img'])]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='SEMFolderDataset', data_root=data_root, sources=[dict(gt='train/high')],
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SEMFolderDataset', data_root=data_root,
                 sources=[dict(gt='val/high', img='val/low')], register_pairs=False,
                 pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='FidelityMetric'),
    dict(type='FabricationMetric'),
    dict(type='SharpnessMetric'),
]
test_evaluator = val_evaluator
