from .sem_folder import SEMFolderDataset
from .transforms import RandomSEMCrop

__all__ = ['RandomSEMCrop', 'SEMFolderDataset']
