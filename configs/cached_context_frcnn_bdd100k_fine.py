# Both looks of context_frcnn_bdd100k_fine, trained from a cache of the plain detector's trunk. The
# cache is made of whole frames, for context is to be looked for in all of a frame.
#
#     python tools/cache_trunk.py configs/frcnn_bdd100k_fine_whole.py PLAIN.pth CACHE --views 2
#     python tools/model_converters/plain_to_stages.py PLAIN.pth STAGES.pth
#     python tools/train.py configs/cached_context_frcnn_bdd100k_fine.py --cfg-options \
#         load_from=STAGES.pth data_root=CACHE/
_base_ = './cached_frcnn_bdd100k_fine.py'
from mmclarity.detection.second_look import with_second_look

max_epochs = 1
model = with_second_look(_base_.model, _base_.heads, **_base_.heads.closer_boxes)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(box_fit=dict(lr_mult=5.0))))
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
custom_hooks = [
    dict(hook, momentum=0.005) if hook.type == 'EMAHook' else hook for hook in _base_.custom_hooks
]
