# Lambda-FRCNN on the embedded scenes, its backbone compared with the model V1 of the embedded
# surfaces (tools/dataset_generators/make_surfaces.py) after every epoch.
#
# Made elsewhere: --cfg-options surfaces=FOLDER/. Other images and recordings:
#   python tools/train.py configs/lambda_frcnn_murky_rsa.py --cfg-options \
#       stimuli.folder=FOLDER stimuli.manifest=FOLDER/manifest.csv \
#       areas.V1_simple=recordings.npz:V1 areas.V1_complex=recordings.npz:V4
_base_ = './lambda_frcnn_murky.py'
surfaces = 'data/surfaces/'
stimuli = dict(folder=surfaces + 'stimuli', manifest=surfaces + 'stimuli/manifest.csv')
areas = dict(V1_simple=surfaces + 'v1.npz:simple', V1_complex=surfaces + 'v1.npz:complex')
custom_imports = dict(
    imports=['mmclarity.detection', 'mmclarity.engine', 'mmclarity.rsa.training'],
    allow_failed_imports=False,
)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook', evaluation=True),
    dict(
        type='RSAHook',
        stimuli=stimuli,
        areas=areas,
        layers=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
    ),
]
