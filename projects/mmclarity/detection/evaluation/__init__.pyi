from .bdd100k_metric import BDD100KMetric

__all__ = ['BDD100KMetric']
