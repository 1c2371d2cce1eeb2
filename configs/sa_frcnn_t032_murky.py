# Self-attention among the proposals, t = 0.32.
_base_ = './sa_frcnn_t32_murky.py'
model = dict(roi_head=dict(bbox_head=dict(attention=dict(temperature=0.32))))
# At low temperatures queries and keys start small, by (t / sqrt(d))^(1/2) each; the steps of AdamW
# do not shrink with them, so their learning rate must.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'q_proj': dict(lr_mult=0.14), 'k_proj': dict(lr_mult=0.14)})
)
