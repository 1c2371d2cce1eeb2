# Made by tools/dataset_generators/make_sem_phantom.py.
_base_ = './sem_folder.py'
data_root = 'data/sem_phantom/'
crop_size = 96
degradation = dict(type='SimulateLowCostSEM')

train_pipeline = [
    dict(type='RandomSEMCrop', size=crop_size, key='gt', gain=(0.7, 1.2)),
    degradation,
    dict(type='PackInputs', keys=['img']),
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, sources=[dict(gt='train/high')], pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, sources=[dict(gt='val/high', img='val/low')], register_pairs=False
    )
)
test_dataloader = val_dataloader
