# Lambda-FRCNN on the embedded scenes, its backbone compared with the model V1 of the embedded
# surfaces (tools/dataset_converters/make_surfaces.py) after every epoch.
_base_ = './lambda_frcnn_murky.py'
surfaces = 'data/surfaces/'
custom_imports = dict(
    imports=['mmclarity.detection', 'mmclarity.engine', 'mmclarity.rsa.training'],
    allow_failed_imports=False)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook'),
    dict(
        type='RSAHook',
        stimuli=surfaces + 'stimuli',
        manifest=surfaces + 'stimuli/manifest.csv',
        neural=dict(V1_simple=surfaces + 'v1.npz:simple', V1_complex=surfaces + 'v1.npz:complex'),
        layers=['backbone.relu', 'backbone.layer1', 'backbone.layer2', 'backbone.layer3']),
]
