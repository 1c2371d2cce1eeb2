# A mix of losses: SSIM for structure, L1 for grey levels, an edge term for steep edges, and a price
# on particles that the reference does not have. Equal to SSIM alone on pairs held out of the
# training (docs/benchmarks/restoration_trials.md).
_base_ = ['./ssim_unet_sem.py']
model = dict(
    pixel_loss=dict(
        _delete_=True,
        type='CompositeLoss',
        losses=dict(
            ssim=dict(type='SSIMLoss', data_range=1.0),
            l1=dict(type='L1Loss', loss_weight=1.0),
            edge=dict(type='EdgeLoss', loss_weight=2.0),
            honesty=dict(type='ExcessStructureLoss', loss_weight=3.0),
        ),
    )
)
