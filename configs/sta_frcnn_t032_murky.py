# Source-target attention, t = 0.32.
_base_ = './frcnn_murky.py'
model = dict(
    roi_head=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(
            type='RegionAttentionBBoxHead',
            attention=dict(type='RegionSourceTargetAttention', temperature=0.32,
                           num_sources=64))))
