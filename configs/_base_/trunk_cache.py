# What trains box heads from the cache of a trained detector's trunk (tools/cache_trunk.py). A
# config takes these parts and sets data_root to their root: --cfg-options data_root=CACHE/ works.
trunk_cache = dict(
    root='work_dirs/cache/',
    model=dict(type='FrozenTrunkRCNN', data_preprocessor=dict(type='FrozenTrunkPreprocessor')),
    train=dict(
        type='ClassBalancedDataset',
        dataset=dict(type='TrunkCacheDataset', data_root='work_dirs/cache/', cache='train'),
    ),
    val=dict(type='TrunkCacheDataset', data_root='work_dirs/cache/', cache='val'),
    hooks=[
        dict(type='TrainOnlyHook', parts=['roi_head.bbox_head']),
        dict(type='TrunkCacheHook'),
    ],
)
find_unused_parameters = True  # in several processes: what is frozen has no gradient
