"""What trains and tests any mmclarity model: registered in mmengine, seen from every scope.

Autocast on the CPU, exact resume, checkpoints that are never half-written, several processes
without a GPU, and the two command lines (:mod:`mmclarity.cli.main`).
"""

from .hooks.checkpoint import AtomicCheckpointHook, AtomicLocalBackend, BareWeightsHook
from .hooks.class_lists import ClassListHook
from .hooks.evaluation import EvaluationCheckHook
from .hooks.freeze import TrainOnlyHook
from .hooks.precision import MixedPrecisionHook, has_bfloat16_units, keep_float32
from .hooks.random_state import RandomStateHook
from .hooks.statistics import SyncStatisticsHook
from .model_wrapper import AveragedGradients
from .optim_wrapper import AutocastOptimWrapper

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'AutocastOptimWrapper',
    'AveragedGradients',
    'BareWeightsHook',
    'ClassListHook',
    'EvaluationCheckHook',
    'MixedPrecisionHook',
    'RandomStateHook',
    'SyncStatisticsHook',
    'TrainOnlyHook',
    'has_bfloat16_units',
    'keep_float32',
]
