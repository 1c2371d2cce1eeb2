from .neural import NeuralArea, align, load_neural
from .stimuli import StimulusSet

__all__ = ['NeuralArea', 'StimulusSet', 'align', 'load_neural']
