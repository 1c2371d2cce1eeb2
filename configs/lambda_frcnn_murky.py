# Lambda layer among the proposals.
_base_ = ['./frcnn_murky.py', './_base_/heads.py']
model = dict(roi_head=_base_.heads.lambda_layer)
