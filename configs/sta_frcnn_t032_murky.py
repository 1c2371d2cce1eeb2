# Source-target attention, t = 0.32.
_base_ = './sa_frcnn_t032_murky.py'
model = dict(
    roi_head=dict(
        bbox_head=dict(attention=dict(type='RegionSourceTargetAttention', num_sources=64))
    )
)
