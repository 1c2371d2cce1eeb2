# composite_unet_sem.py in minutes on two cores, on simulated spheres.
_base_ = ['./mse_unet_phantom.py']
model = dict(
    pixel_loss=dict(
        _delete_=True,
        type='CompositeLoss',
        losses=dict(
            ssim=dict(type='SSIMLoss', data_range=1.0),
            l1=dict(type='L1Loss', loss_weight=1.0),
            edge=dict(type='EdgeLoss', loss_weight=2.0),
            honesty=dict(type='ExcessStructureLoss', loss_weight=2.0),
        ),
    )
)
