# The published restorer: the same U-net with 1 - SSIM as its loss.
_base_ = ['./mse_unet_sem.py']
model = dict(pixel_loss=dict(_delete_=True, type='SSIMLoss', data_range=1.0))
