"""The error that the command-line tools print without a traceback."""


class UsageError(ValueError):
    """Something the caller can mend: the message names the place and the remedy."""
