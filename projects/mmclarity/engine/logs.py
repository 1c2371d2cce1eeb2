"""Logs on a disk that fills up."""

from __future__ import annotations

import logging
import sys

from mmclarity.utils.files import full_disk_told


def stop_at_full_disk(logger: logging.Logger) -> None:
    """Have a log that finds no room end the run with one message.

    Python's own way is to print a traceback for each line and to go on, up to the first
    checkpoint that has no room either.

    Args:
        logger: Its handlers that write to files are changed.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            _stopping(handler)


def _stopping(handler: logging.FileHandler) -> None:
    usual = handler.handleError

    def told(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            with full_disk_told(handler.baseFilename):
                raise error
        usual(record)

    handler.handleError = told  # type: ignore[method-assign]
