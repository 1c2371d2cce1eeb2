# ssim_unet_sem.py in minutes on two cores, on simulated spheres.
_base_ = ['./mse_unet_phantom.py']
model = dict(pixel_loss=dict(_delete_=True, type='SSIMLoss', data_range=1.0))
optim_wrapper = dict(optimizer=dict(lr=4e-4))
