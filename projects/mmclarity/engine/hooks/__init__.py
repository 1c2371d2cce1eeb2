"""Hooks that any training may use, registered at mmengine's root."""

from .checkpoint import AtomicCheckpointHook, AtomicLocalBackend, BareWeightsHook
from .class_lists import ClassListHook
from .evaluation import EvaluationCheckHook
from .freeze import TrainOnlyHook
from .precision import MixedPrecisionHook, has_bfloat16_units, keep_float32
from .random_state import RandomStateHook
from .statistics import SyncStatisticsHook

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
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
