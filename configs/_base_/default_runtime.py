_base_ = './runtime.py'
default_scope = 'mmdet'
custom_imports = dict(
    imports=['mmclarity.detection', 'mmclarity.engine'], allow_failed_imports=False
)
default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
custom_hooks = [dict(type='RandomStateHook')]
env_cfg = dict(cudnn_benchmark=False)  # images differ in size
visualizer = dict(type='DetLocalVisualizer')
