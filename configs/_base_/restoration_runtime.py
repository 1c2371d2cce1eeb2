_base_ = './runtime.py'
default_scope = 'mmagic'
custom_imports = dict(
    imports=['mmclarity.restoration', 'mmclarity.engine'], allow_failed_imports=False
)
default_hooks = dict(
    # validations stand at their iteration: all of them are in epoch 0 of an endless sampler
    logger=dict(interval=100, log_metric_by_epoch=False),
    checkpoint=dict(interval=500, by_epoch=False),
)
log_processor = dict(window_size=100, by_epoch=False)
