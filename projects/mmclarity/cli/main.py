"""How every tool of mmclarity ends: one convention of messages and exit statuses.

===  ========================================================================================
0    Done.
2    Something the caller can mend: ``tool: error: ...`` on the standard error stream, which
     names the place and the remedy. Also when only a part of the work failed.
130  Ended by Ctrl-C.
1    A fault of mmclarity: with a traceback, which belongs into a bug report.
===  ========================================================================================

``MMCLARITY_TRACEBACK=1`` in the environment shows where a message of status 2 comes from as well.
"""

from __future__ import annotations

import argparse
import glob
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmclarity.errors import OutputError, UsageError

DONE, MISTAKE, INTERRUPTED, PIPE_CLOSED = 0, 2, 130, 141

# What a plain `pip install mmclarity`, which brings RSA, leaves out.
EXTRAS = {
    'mmengine': 'all',
    'mmcv': 'all',
    'mmdet': 'detection',
    'mmagic': 'restoration',
    'onnx': 'onnx',
    'onnxruntime': 'onnx',
}


def run(
    command: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, and put what the caller can mend into words.

    Args:
        command: gets the parsed arguments; may return an exit status.
        parser: its ``prog`` begins the message.
        argv: the arguments; those of the process by default.

    Returns:
        The exit status.
    """
    return finish(command, parser.parse_args(argv), parser.prog)


def finish(
    command: Callable[[argparse.Namespace], int | None], args: argparse.Namespace, prog: str
) -> int:
    """:func:`run` for arguments that are parsed already; ``prog`` begins the message."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # as the standard error stream: file names may be no text
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        with _said_plainly(prog):
            return command(args) or DONE
    except BrokenPipeError:  # of `tool | head`; nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print(f'\n{prog}: interrupted', file=sys.stderr)
        return INTERRUPTED
    except (UsageError, OSError, ModuleNotFoundError, MemoryError) as error:
        text = message(error)
        if text is None:
            raise
        if os.environ.get('MMCLARITY_TRACEBACK'):
            traceback.print_exc()
        print(f'{prog}: error: {text}', file=sys.stderr)
        return MISTAKE


def _open_streams() -> None:
    """Streams that the caller has closed (of a daemon, or pythonw) lead to nowhere.

    Else the first word ends the work; and the next file that is opened gets their number, into
    which libraries that are no Python write their warnings.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding='utf-8')  # noqa: SIM115, never closed
            setattr(sys, name, stream)


@contextmanager
def _said_plainly(prog: str) -> Iterator[None]:
    """What mmclarity warns of as ``prog: warning: ...``, without its line of code."""
    usual, home = warnings.formatwarning, str(Path(__file__).parents[1])

    def plain(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if category is UserWarning and filename.startswith(home):
            return f'{prog}: warning: {message}\n'
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


def message(error: BaseException) -> str | None:
    """What to tell the caller about an error; None if it is none of theirs."""
    if isinstance(error, ModuleNotFoundError) and 'install' not in str(error):
        package = (error.name or '').partition('.')[0]
        if package not in EXTRAS:
            return None  # an import that does not say how to mend it is our fault
        return f'{package} is not installed: pip install "mmclarity[{EXTRAS[package]}]"'
    if isinstance(error, MemoryError):
        return f'not enough memory{f": {error}" if str(error) else ""}'
    if isinstance(error, OSError) and not isinstance(error, UsageError) and error.strerror:
        place = f'{error.filename}: ' if error.filename else ''
        return f'{place}{error.strerror}'
    return str(error) or type(error).__name__


@contextmanager
def mistakes(*kinds: type[Exception], of: str = '') -> Iterator[None]:
    """Around what only checks what the caller gave: errors of these kinds are the caller's.

    Args:
        kinds: such as ValueError, KeyError.
        of: begins the message.

    Raises:
        UsageError: in the place of them.
    """
    try:
        yield
    except UsageError:
        raise
    except kinds as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else message(error)
        raise UsageError(f'{of}{": " if of else ""}{text}') from error


def counted(number: int, thing: str) -> str:
    """A number of things, in words."""
    return f'{number} {thing}{"" if number == 1 else "s"}'


def title_of(source: str) -> str:
    """What a page about an input is called.

    Examples:
        >>> title_of('night/a.jpg'), title_of('night/**/*.jpg')
        ('a.jpg', 'night/**/*.jpg')
    """
    is_pattern = glob.has_magic(source) and not Path(source).exists()
    return source if is_pattern else Path(source).name


def check_folder(folder: Path) -> None:
    """Say before the work that results could not be written after it.

    Raises:
        OutputError: If ``folder`` is a file, or it can neither be made nor written to.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    place = '' if there == folder else f'{there} '
    if not there.is_dir():
        raise OutputError(f'{folder}: {place}is a file; give a folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f'{folder}: {place}may not be written to; give another folder')


def check_free(*paths: Path, overwrite: bool) -> None:
    """Say before the work that its result would replace a file.

    Args:
        paths: of what is to be written.
        overwrite: whether ``--overwrite`` was given: then all is well.

    Raises:
        UsageError: If one of them exists.
    """
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise UsageError(f'{there[0]} exists; give --overwrite or another name')
