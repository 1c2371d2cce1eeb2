# Self-attention among the proposals, t = 32.
_base_ = ['./frcnn_bdd100k.py', './_base_/heads.py']
model = dict(roi_head=_base_.heads.self_attention)
