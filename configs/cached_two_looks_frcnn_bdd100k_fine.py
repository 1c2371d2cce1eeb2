# Both looks of two_looks_frcnn_bdd100k_fine, trained from a cache of the plain detector's trunk.
# How well a box fits is learned from scratch, so faster.
#
#     python tools/cache_trunk.py configs/frcnn_bdd100k_fine_whole.py PLAIN.pth CACHE --views 2
#     python tools/model_converters/plain_to_stages.py PLAIN.pth STAGES.pth
#     python tools/train.py configs/cached_two_looks_frcnn_bdd100k_fine.py --cfg-options \
#         load_from=STAGES.pth data_root=CACHE/
_base_ = './cached_context_frcnn_bdd100k_fine.py'
first, second = _base_.model.roi_head.bbox_head
model = dict(roi_head=dict(bbox_head=[first, dict(second, **_base_.heads.alone)]))
