# What makes the proposals of a plain detector look at each other. A config takes one of these,
#     model = dict(roi_head=_base_.heads.lambda_layer)
# and says below it what it has otherwise.
heads = dict(
    # the same detector without attention, to which one can be added by an option
    no_attention=dict(
        type='RegionAttentionRoIHead', bbox_head=dict(type='RegionAttentionBBoxHead')
    ),
    self_attention=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(
            type='RegionAttentionBBoxHead',
            attention=dict(type='RegionSelfAttention', temperature=32.0),
        ),
    ),
    lambda_layer=dict(
        type='RegionAttentionRoIHead',
        bbox_head=dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda')),
    ),
)
