_base_ = './runtime.py'
default_scope = 'mmengine'
custom_imports = dict(
    imports=['mmclarity.rsa.training', 'mmclarity.engine'], allow_failed_imports=False
)
