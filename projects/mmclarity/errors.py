"""Errors that the caller can mend: the command-line tools print them without a traceback.

Each message is one that a user can act on: it names the file, the place in it, and the remedy.
"""


class UsageError(ValueError):
    """Something the caller can mend: the message names the place and the remedy."""


class DataError(UsageError):
    """Data that cannot be used: an image, labels, recordings, a folder of them."""


class CheckpointError(UsageError):
    """Weights that cannot be read, or that belong to another model."""


class LayerError(UsageError):
    """Layers, modules or networks that a model does not have."""


class OutputError(UsageError, OSError):
    """A file that cannot be written: no room, no permission, no folder.

    Also an ``OSError``, so that whoever guards against those goes on doing so.
    """
