"""What trains and tests any mmclarity model: registered in mmengine, seen from every scope.

Autocast on the CPU, exact resume, checkpoints that are never half-written, several processes
without a GPU, and the two command lines (:mod:`mmclarity.engine.cli`).
"""

from .checkpoint_hook import AtomicCheckpointHook, AtomicLocalBackend
from .class_lists import ClassListHook
from .freeze import TrainOnlyHook
from .model_wrapper import AveragedGradients
from .optim_wrapper import AutocastOptimWrapper
from .precision import MixedPrecisionHook, has_bfloat16_units, keep_float32
from .random_state import RandomStateHook

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'AutocastOptimWrapper',
    'AveragedGradients',
    'ClassListHook',
    'MixedPrecisionHook',
    'RandomStateHook',
    'TrainOnlyHook',
    'has_bfloat16_units',
    'keep_float32',
]
