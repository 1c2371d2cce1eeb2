from .hook import AttentionVisualizationHook
from .looks import Layer, Look, Neighbour, Seen, look_at, looks_of
from .page import Page
from .pictures import draw_look

__all__ = [
    'AttentionVisualizationHook',
    'Layer',
    'Look',
    'Neighbour',
    'Page',
    'Seen',
    'draw_look',
    'look_at',
    'looks_of',
]
