# mmagic's Pix2Pix on one channel; grey levels 0..255 become -1..1.
model = dict(
    type='SEMPix2Pix',
    data_preprocessor=dict(type='DataPreprocessor', mean=[127.5], std=[127.5]),
    # The published network normalises a batch of one image, which is instance normalisation.
    generator=dict(
        type='UnetGenerator',
        in_channels=1,
        out_channels=1,
        num_down=7,
        base_channels=32,
        norm_cfg=dict(type='IN', affine=True),
        use_dropout=False,
        init_cfg=dict(type='normal', gain=0.02),
    ),
    discriminator=dict(
        type='PatchDiscriminator',
        in_channels=2,
        base_channels=32,
        num_conv=3,
        norm_cfg=dict(type='IN', affine=True),
        init_cfg=dict(type='normal', gain=0.02),
    ),
    default_domain='high',
    reachable_domains=['high'],
    related_domains=['high', 'low'],
    loss_config=dict(pixel_loss_weight=100.0),
)
