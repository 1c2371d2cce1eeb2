# The SSIM U-net, whose restorations get a mild unsharp mask: as steep edges as Pix2Pix draws, for a
# fraction of its fabrications. Takes the checkpoints of ssim_unet_sem.py. Of the strengths 0.3,
# 0.6 and 0.8 the least reached the blur of Pix2Pix on pairs held out of the training (README).
_base_ = ['./ssim_unet_sem.py']
model = dict(generator=dict(sharpen=0.3))
