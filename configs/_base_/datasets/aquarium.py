# The Aquarium data set (CC BY 4.0) as COCO JSON: 638 underwater photographs, seven classes, split
# by source movie. A config takes these parts and gives each its pipeline.
images = dict(
    type='CocoDataset',
    data_root='data/aquarium/',
    metainfo=dict(
        classes=('fish', 'jellyfish', 'penguin', 'puffin', 'shark', 'starfish', 'stingray')
    ),
)
aquarium = dict(
    num_classes=7,
    train=dict(
        images,
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=False),
    ),
    val=dict(images, ann_file='val.json', data_prefix=dict(img='val/'), test_mode=True),
)
del images
