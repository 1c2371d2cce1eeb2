# The published restorer: the same U-net with 1 - SSIM as its loss. Far from any image SSIM is flat:
# at the rate of the other losses, some trainings jump there and stay, so it gets less.
_base_ = ['./mse_unet_sem.py']
model = dict(pixel_loss=dict(_delete_=True, type='SSIMLoss', data_range=1.0))
optim_wrapper = dict(optimizer=dict(lr=4e-4))
