# Lambda-FRCNN on the embedded scenes, its backbone compared with the model V1 of the embedded
# surfaces (tools/dataset_generators/make_surfaces.py) after every epoch.
#
# Other images and recordings (the variable `surfaces` cannot be set on the command line):
#   python tools/train.py configs/lambda_frcnn_murky_rsa.py --cfg-options \
#       custom_hooks.2.stimuli.folder=FOLDER custom_hooks.2.stimuli.manifest=FOLDER/manifest.csv \
#       custom_hooks.2.areas.V1_simple=recordings.npz:V1 \
#       custom_hooks.2.areas.V1_complex=recordings.npz:V4
_base_ = './lambda_frcnn_murky.py'
surfaces = 'data/surfaces/'
custom_imports = dict(
    imports=['mmclarity.detection', 'mmclarity.engine', 'mmclarity.rsa.training'],
    allow_failed_imports=False,
)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook', evaluation=True),
    dict(
        type='RSAHook',
        stimuli=dict(folder=surfaces + 'stimuli', manifest=surfaces + 'stimuli/manifest.csv'),
        areas=dict(V1_simple=surfaces + 'v1.npz:simple', V1_complex=surfaces + 'v1.npz:complex'),
        layers=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
    ),
]
