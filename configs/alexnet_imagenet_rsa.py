# torchvision's AlexNet on an ImageNet folder by the published recipe (SGD, batch 128, 90 epochs,
# learning rate 0.01 divided by 10 every 25 epochs), beside brain areas after every epoch.
#
#   python tools/train.py configs/alexnet_imagenet_rsa.py --cfg-options data_root=IMAGENET/ \
#       stimuli.folder=FOLDER areas.V1=recordings.npz:V1 areas.V4=recordings.npz:V4
_base_ = ['./_base_/datasets/image_folder.py', './_base_/classification_runtime.py']

stimuli = dict(folder='data/stimuli', size=224)
areas = dict(V1='data/stimuli/recordings.npz:V1', V4='data/stimuli/recordings.npz:V4')
model = dict(type='TorchvisionClassifier', network='alexnet', num_classes=1000)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = dict(type='StepLR', step_size=25, gamma=0.1, by_epoch=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=128)

custom_hooks = [
    dict(type='RandomStateHook'),
    dict(
        type='RSAHook',
        stimuli=stimuli,
        areas=areas,
        # After the ReLU of each convolution, and of the hidden fully connected layers.
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
