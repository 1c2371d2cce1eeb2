# The small detector of frcnn_bdd100k_fine on underwater photographs: seven classes, 640 pixels. Any
# COCO data set goes in this way.
_base_ = ['./frcnn_bdd100k_fine.py', './_base_/datasets/aquarium.py']
data = _base_.aquarium
data_root = data.val.data_root
max_epochs = 12
size = (640, 640)  # the longer side
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=size)
train_pipeline[3].update(crop_size=size)
train_pipeline[6] = dict(type='RandomFlip', prob=0.5)  # nobody has asked on which side boxes stand
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=size)
model = dict(roi_head=dict(bbox_head=dict(num_classes=data.num_classes)))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=_base_.oversample_thr,
        dataset=dict(data.train, pipeline=train_pipeline),
    )
)
val_dataloader = dict(dataset=dict(data.val, _delete_=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
test_evaluator = dict(by=())  # these photographs have no weather
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
