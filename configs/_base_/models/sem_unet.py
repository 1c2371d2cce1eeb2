# Grey levels 0..255 become 0..1.
model = dict(
    type='BaseEditModel',
    generator=dict(type='SEMUNet', base_channels=24, depth=4),
    pixel_loss=dict(type='MSELoss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0]),
)
