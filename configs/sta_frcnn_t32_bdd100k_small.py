# Source-target attention, t = 32: proposals look at the RPN's most certain ones.
_base_ = './frcnn_bdd100k_small.py'
model = dict(
    roi_head=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(
            type='RegionAttentionBBoxHead',
            attention=dict(type='RegionSourceTargetAttention', temperature=32.0),
        ),
    )
)
