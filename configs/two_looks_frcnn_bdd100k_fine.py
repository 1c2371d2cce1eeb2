# context_frcnn_bdd100k_fine without attention: as good on the road, and cheaper; of the detectors
# that ship it is the default. How it was trained, along with its trunk: docs/benchmarks/bdd100k.md.
_base_ = './context_frcnn_bdd100k_fine.py'
first, second = _base_.model.roi_head.bbox_head
# Fewer proposals than the plain detector's 300, and fewer of them looked at again: a third less for
# the second look to do, and no less AP on the frames held out.
model = dict(
    roi_head=dict(look_again=0.06, bbox_head=[first, dict(second, **_base_.heads.alone)]),
    test_cfg=dict(rpn=dict(max_per_img=250)),
)
