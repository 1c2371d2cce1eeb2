# The SSIM U-net, whose restorations get steeper edges and less of what is too faint to be believed
# (Sharpening). Takes the checkpoints of ssim_unet_sem.py. The numbers were chosen on pairs held out
# of the training: the sharpest of those tried that fabricated less than no sharpening
# (docs/benchmarks/restoration_trials.md).
_base_ = ['./ssim_unet_sem.py']
model = dict(generator=dict(sharpen=dict(amount=1.5, edge=0.01, damping=0.6, faint=0.04)))
