# Source-target attention, t = 32: proposals look at the RPN's most certain ones.
_base_ = './sa_frcnn_t32_bdd100k_small.py'
model = dict(roi_head=dict(bbox_head=dict(attention=dict(type='RegionSourceTargetAttention'))))
