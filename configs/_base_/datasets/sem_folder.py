# Training sees clean images only, degraded as they are drawn; pairs judge the result. A child says
# where they are and how they are degraded.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='SEMFolderDataset'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SEMFolderDataset', pipeline=[dict(type='PackInputs', keys=['img'])], test_mode=True
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='FidelityMetric'),
    dict(type='FabricationMetric'),
    dict(type='SharpnessMetric'),
]
test_evaluator = val_evaluator
