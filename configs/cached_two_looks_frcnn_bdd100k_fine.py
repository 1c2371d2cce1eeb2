# Both looks of two_looks_frcnn_bdd100k_fine, trained from a cache of the plain detector's trunk.
# How well a box fits is learned from scratch: faster.
#
#     python tools/cache_trunk.py configs/frcnn_bdd100k_fine_whole.py PLAIN.pth CACHE --views 2
#     python tools/model_converters/plain_to_stages.py PLAIN.pth STAGES.pth
#     python tools/train.py configs/cached_two_looks_frcnn_bdd100k_fine.py --cfg-options \
#         load_from=STAGES.pth data_root=CACHE/
_base_ = ['./two_looks_frcnn_bdd100k_fine.py', './_base_/trunk_cache.py']
cache = _base_.trunk_cache
data_root = cache.root
max_epochs = 1
model = cache.model
train_dataloader = dict(
    dataset=dict(cache.train, _delete_=True, oversample_thr=_base_.oversample_thr)
)
val_dataloader = dict(dataset=dict(cache.val, _delete_=True))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys=dict(box_fit=dict(lr_mult=5.0))),
)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.005),
    *cache.hooks,
]
