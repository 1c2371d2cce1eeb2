# Lambda layer among the proposals.
_base_ = './frcnn_bdd100k.py'
model = dict(
    roi_head=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda')),
    )
)
