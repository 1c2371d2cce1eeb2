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
    # the others and with what they take themselves for. Each stage says what it has otherwise. The
    # second gets better boxes: it is asked for smaller moves, and (second_look) for closer ones.
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
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=[0.05, 0.05, 0.1, 0.1],
                ),
            ),
        ],
    ),
    # For the second look: every proposal on its own.
    alone=dict(type='RegionAttentionBBoxHead', attention=None),
    # Closer boxes, as options of with_second_look: the second look knows how well its boxes fit,
    # and the proposals on one object agree on its box; what the first takes for background is left
    # at that; and a box is not thrown away for lying on a surer one, it counts less.
    closer_boxes=dict(
        second=dict(box_fit=True, consensus=dict(temperature=0.025)),
        look_again=0.03,
        suppression=dict(
            score_thr=0.01,
            nms=dict(type='soft_nms', method='linear', iou_threshold=0.3, min_score=0.01),
            max_per_img=200,
        ),
    ),
    second_look=dict(pos_iou_thr=0.6, neg_iou_thr=0.6, min_pos_iou=0.6),  # of train_cfg's assigner
)
