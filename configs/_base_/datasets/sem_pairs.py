# Real images; the quick ones of a pair are for judging only.
_base_ = './sem_folder.py'
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
    offset=(3.42, 7.84),
)

train_pipeline = [
    dict(type='RandomSEMCrop', size=crop_size, key='gt', gain=(0.7, 1.2)),
    degradation,
    dict(type='PackInputs', keys=['img']),
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, sources=train_sources, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(data_root=data_root, sources=test_sources))
test_dataloader = val_dataloader
