from .average import average_populations
from .neural import NeuralArea, align, load_neural
from .stimuli import StimulusSet

__all__ = ['NeuralArea', 'StimulusSet', 'align', 'average_populations', 'load_neural']
