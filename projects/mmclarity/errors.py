"""Errors that the caller can mend: the command-line tools print them without a traceback.

Each message is one that a user can act on: it names the file, the place in it, and the remedy.
"""


class UsageError(ValueError):
    """Something the caller can mend: the message names the place and the remedy."""


class DataError(UsageError):
    """Data that cannot be used: an image, labels, recordings, a folder of them."""


class MissingKeyError(DataError, KeyError):
    """A file has no array of this name. Also a ``KeyError``, without its quotation marks."""

    __str__ = Exception.__str__


class CheckpointError(UsageError):
    """Weights that cannot be read, or that belong to another model."""


class LayerError(UsageError):
    """Layers, modules or networks that a model does not have."""


class MissingLayerError(LayerError, KeyError):
    """A model has no layer of this name. Also a ``KeyError``, without its quotation marks."""

    __str__ = Exception.__str__


class OutputError(UsageError, OSError):
    """A file that cannot be written: no room, no permission, no folder.

    Also an ``OSError``, so that whoever guards against those goes on doing so.
    """


def said(error: BaseException) -> str:
    """What a library says in an error, on one line, for a message that adds the file's name.

    Pillow's guard against enormous images is named as the limit that it is: its image is whole.
    """
    if type(error).__name__ in ('DecompressionBombError', 'DecompressionBombWarning'):
        text = str(error).split(' pixels')[0].rpartition('(')[2]
        return (
            f'{text} pixels are more than the limit of 179 megapixels that guards against files '
            'made to fill the memory; cut or shrink the image, or raise PIL.Image.MAX_IMAGE_PIXELS'
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
