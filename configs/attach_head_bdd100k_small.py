# A head put into a trained plain detector: only the box head is trained on, for four epochs.
#
#     python tools/train.py configs/attach_head_bdd100k_small.py --cfg-options load_from=PLAIN.pth
#
# Another head: model.roi_head.bbox_head.attention.type=RegionSelfAttention and its options. The
# same training without a head, to compare with: model.roi_head.bbox_head.attention=None.
_base_ = './lambda_frcnn_bdd100k_small.py'
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook', evaluation=True),
    dict(type='TrainOnlyHook', parts=['roi_head.bbox_head']),
]
find_unused_parameters = True  # in several processes: what is frozen has no gradient
