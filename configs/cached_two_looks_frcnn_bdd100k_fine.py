# Both looks of two_looks_frcnn_bdd100k_fine, trained from a cache of the plain detector's trunk.
# How well a box fits is learned from scratch, so faster.
#
#     python tools/cache_trunk.py configs/frcnn_bdd100k_fine_whole.py PLAIN.pth CACHE --views 2
#     python tools/model_converters/plain_to_stages.py PLAIN.pth STAGES.pth
#     python tools/train.py configs/cached_two_looks_frcnn_bdd100k_fine.py --cfg-options \
#         load_from=STAGES.pth data_root=CACHE/
_base_ = './cached_frcnn_bdd100k_fine.py'
from mmclarity.detection.second_look import with_second_look

max_epochs = 1
second = dict(_base_.heads.closer_boxes, **_base_.heads.alone)
model = dict(
    with_second_look(_base_.model, _base_.heads, second=second, look_again=0.03),
    test_cfg=dict(rcnn=dict(_base_.heads.soft_suppression, _delete_=True)),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(box_fit=dict(lr_mult=5.0))))
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
custom_hooks = [
    dict(hook, momentum=0.005) if hook.type == 'EMAHook' else hook for hook in _base_.custom_hooks
]
