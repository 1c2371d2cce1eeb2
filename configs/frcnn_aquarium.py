# The small detector of frcnn_bdd100k_fine on underwater photographs: the Aquarium data set (CC BY
# 4.0) as COCO JSON, seven classes, split by source movie. Any COCO data set goes in this way.
_base_ = './frcnn_bdd100k_fine.py'
data_root = 'data/aquarium/'
classes = ('fish', 'jellyfish', 'penguin', 'puffin', 'shark', 'starfish', 'stingray')
max_epochs = 12
size = (640, 640)  # the longer side
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=size)
train_pipeline[3].update(crop_size=size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=size)
images = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=classes))
model = dict(roi_head=dict(bbox_head=dict(num_classes=7)))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=_base_.oversample_thr,
        dataset=dict(
            images,
            ann_file='train.json',
            data_prefix=dict(img='train/'),
            filter_cfg=dict(filter_empty_gt=False),
            pipeline=train_pipeline,
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        images,
        _delete_=True,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_epochs)
