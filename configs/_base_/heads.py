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
    # Two looks at every proposal: on its own, and again where the first has moved it, together with
    # the others and with what they take themselves for. Each stage says what it has otherwise.
    two_looks=dict(
        type='CascadeRegionAttentionRoIHead',
        num_stages=2,
        stage_loss_weights=[1, 0.5],
        bbox_head=[
            dict(type='RegionAttentionBBoxHead', num_shared_fcs=2),
            dict(
                type='BeliefBBoxHead',
                num_shared_fcs=2,
                attention=dict(type='RegionSelfAttention', num_heads=4),
            ),
        ],
    ),
)
