# A small AlexNet on the embedded surfaces (tools/dataset_generators/make_surfaces.py), beside a
# Gabor-filter model of V1. Minutes on two cores.
_base_ = ['./_base_/datasets/image_folder.py', './_base_/classification_runtime.py']
data_root = 'data/surfaces/'
stimuli = dict(folder=data_root + 'stimuli', manifest=data_root + 'stimuli/manifest.csv')
areas = dict(V1_simple=data_root + 'v1.npz:simple', V1_complex=data_root + 'v1.npz:complex')

model = dict(
    type='TorchvisionClassifier',
    network=dict(type='SmallAlexNet'),
    num_classes=8,
    data_preprocessor=dict(type='RGBPreprocessor', mean=(0.45, 0.45, 0.45), std=(0.2, 0.2, 0.2)),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, crop_size=64, min_area=0.5),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, crop_size=64, resize=64),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
)
max_epochs = 20
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

custom_hooks = [
    dict(type='RandomStateHook'),
    dict(
        type='RSAHook',
        stimuli=stimuli,
        areas=areas,
        layers=[
            'network.features.1',
            'network.features.4',
            'network.features.7',
            'network.features.9',
            'network.features.11',
            'network.classifier.2',
            'network.classifier.5',
        ],
    ),
]
