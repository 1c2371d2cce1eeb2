from .weights import DETECTORS, load_shipped, shipped_config, shipped_weights

__all__ = ['DETECTORS', 'load_shipped', 'shipped_config', 'shipped_weights']
