# Self-attention among the proposals, t = 0.32.
_base_ = './sa_frcnn_t32_bdd100k.py'
model = dict(roi_head=dict(bbox_head=dict(attention=dict(temperature=0.32))))
# See sa_frcnn_t032_murky.py; the steps of SGD even grow as weights shrink: 0.32 / sqrt(1024).
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'q_proj': dict(lr_mult=0.01), 'k_proj': dict(lr_mult=0.01)})
)
