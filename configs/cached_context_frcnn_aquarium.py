# The box heads of context_frcnn_aquarium, from a cache of frcnn_aquarium's trained trunk; see
# cached_context_frcnn_bdd100k_fine.py.
_base_ = ['./context_frcnn_aquarium.py', './_base_/trunk_cache.py']
cache = _base_.trunk_cache
data_root = cache.root
max_epochs = 1
model = cache.model
train_dataloader = dict(
    dataset=dict(cache.train, _delete_=True, oversample_thr=_base_.oversample_thr)
)
val_dataloader = dict(dataset=dict(cache.val, _delete_=True))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.005),
    *cache.hooks,
]
