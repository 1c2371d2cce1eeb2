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
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
custom_hooks = [*_base_.custom_hooks, dict(type='TrainOnlyHook', parts=['roi_head.bbox_head'])]
find_unused_parameters = True  # in several processes: what is frozen has no gradient
