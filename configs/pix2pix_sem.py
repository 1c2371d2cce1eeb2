# The baseline that fabricates: mmagic's Pix2Pix on one channel, trained on the same data.
_base_ = ['./mse_unet_sem.py']
model = dict(
    _delete_=True,
    type='SEMPix2Pix',
    data_preprocessor=dict(type='DataPreprocessor', mean=[127.5], std=[127.5]),
    # The published network normalises a batch of one image, which is instance normalisation.
    generator=dict(type='UnetGenerator', in_channels=1, out_channels=1, num_down=7,
                   base_channels=32, norm_cfg=dict(type='IN', affine=True), use_dropout=False,
                   init_cfg=dict(type='normal', gain=0.02)),
    discriminator=dict(type='PatchDiscriminator', in_channels=2, base_channels=32, num_conv=3,
                       norm_cfg=dict(type='IN', affine=True),
                       init_cfg=dict(type='normal', gain=0.02)),
    default_domain='high',
    reachable_domains=['high'],
    related_domains=['high', 'low'],
    loss_config=dict(pixel_loss_weight=100.0))
train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='RandomSEMCrop', size={{_base_.crop_size}}, key='gt', gain=(0.7, 1.2)),
    {{_base_.degradation}},
    dict(type='CopyValues', src_keys=['gt', 'img'], dst_keys=['img_high', 'img_low']),
    dict(type='PackInputs', keys=['img_low', 'img_high']),
]))
adam = dict(type='Adam', lr=2e-4, betas=(0.5, 0.999))
optim_wrapper = dict(
    _delete_=True,
    constructor='MultiOptimWrapperConstructor',
    generators=dict(type='AutocastOptimWrapper', dtype='bfloat16', optimizer=adam),
    discriminators=dict(type='AutocastOptimWrapper', dtype='bfloat16', optimizer=adam))
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0, end_factor=0.01, by_epoch=False, begin=1500,
         end=3000),
]
custom_hooks = [dict(type='RandomStateHook'), dict(type='MixedPrecisionHook', float32=[])]
