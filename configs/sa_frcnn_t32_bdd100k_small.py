# Self-attention among the proposals, t = 32.
_base_ = './frcnn_bdd100k_small.py'
model = dict(
    roi_head=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(
            type='RegionAttentionBBoxHead',
            attention=dict(type='RegionSelfAttention', temperature=32.0),
        ),
    )
)
