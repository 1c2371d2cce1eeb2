# Training sees clean images only, degraded as they are drawn. Real pairs judge the result.
data_root = 'data/'
train_sources = [
    dict(gt='sem_pairs/high', include=r'0([0-2]\d|3[0-5])'),
    dict(gt='sem_superalloy'),
]
test_sources = [dict(gt='sem_pairs/high', img='sem_pairs/low', include=r'0(3[6-9]|4\d|50)')]
crop_size = 128
# Measured on the low images 001-035 by tools/calibrate_degradation.py.
degradation = dict(
    type='SimulateLowCostSEM',
    correlation=(0.481, 0.09, 0.022),
    slope=(3.40, 3.56),
    intercept=(0.0, 5.0),
    blur=(0.279, 0.417),
    line_blur=(0.431, 0.568),
    gain=(0.958, 0.981),
    offset=(3.42, 7.84))

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
    dataset=dict(type='SEMFolderDataset', data_root=data_root, sources=train_sources,
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SEMFolderDataset', data_root=data_root, sources=test_sources,
                 pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='FidelityMetric'),
    dict(type='FabricationMetric'),
    dict(type='SharpnessMetric'),
]
test_evaluator = val_evaluator
