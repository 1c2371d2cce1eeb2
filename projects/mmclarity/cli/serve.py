"""``mmclarity-restore --serve``: the page in the browser."""

from __future__ import annotations

import argparse
import signal
import sys
import webbrowser
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mmclarity.errors import UsageError

from .main import DONE

if TYPE_CHECKING:
    from mmclarity.restoration import Restorer

__all__ = ['add_options', 'check', 'serve_page']

# Options of files and folders: the page restores what is dropped, one file after the other.
UNUSED = ('combine', 'recursive', 'workers')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what only the page needs."""
    page = parser.add_argument_group('page in the browser')
    page.add_argument(
        '--serve',
        action='store_true',
        help='open a page: drop files, compare before and after, download; no IN and OUT',
    )
    page.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at (default 127.0.0.1: this computer only)',
    )
    page.add_argument('--port', type=int, default=8765, help='default 8765; 0 for a free one')
    page.add_argument(
        '--upload-limit', type=int, default=512, metavar='MB', help='of a file (default 512)'
    )
    page.add_argument('--no-browser', action='store_true', help='only print the address')


def check(args: argparse.Namespace) -> None:
    """Refuses what does not go together, before anything heavy is loaded.

    Args:
        args: of the command line.

    Raises:
        UsageError: with ``--serve`` an input, or a size or port that cannot be.
        ModuleNotFoundError: ``mmclarity[app]`` is not installed.
    """
    if args.input is not None:
        raise UsageError(f'--serve takes no IN ({args.input}): files are dropped on the page')
    unused = [f'--{name}' for name in UNUSED if getattr(args, name) not in (None, False)]
    if unused:
        raise UsageError(f'--serve has no use for {", ".join(unused)}: leave that out')
    if args.adapt:
        raise UsageError('--serve does not train; adapt first, then --serve --checkpoint WEIGHTS')
    if args.upload_limit < 1:
        raise UsageError(f'--upload-limit must be at least 1 MB, not {args.upload_limit}')
    if not 0 <= args.port < 65536:
        raise UsageError(f'--port must be 0 to 65535, not {args.port}')
    missing = [name for name in ('starlette', 'uvicorn') if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'--serve needs {" and ".join(missing)}: pip install "mmclarity[app]", '
            f'or pip install {" ".join(missing)}'
        )


def serve_page(
    args: argparse.Namespace, make: Callable[[type], Restorer], reading: dict[str, object]
) -> int:
    """Answers until Ctrl-C; returns the exit status.

    Args:
        args: of the command line.
        make: a restorer of a class.
        reading: options of :func:`mmclarity.restoration.io.read_sem`, for every file.
    """
    from mmclarity.restoration.app.jobs import Workshop
    from mmclarity.restoration.app.server import is_loopback, serve
    from mmclarity.restoration.app.watched import WatchedRestorer

    def ready(address: str) -> None:
        print(f'mmclarity-restore: the page is at {address} (Ctrl-C ends it)', file=sys.stderr)
        if not is_loopback(args.host):
            print(
                f'warning: whoever reaches {args.host} can use this page: it asks for no '
                'password, and what is uploaded travels unencrypted',
                file=sys.stderr,
            )
        if not args.no_browser:
            webbrowser.open(address)

    # as Ctrl-C: the uploaded files are deleted
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, 'SIGHUP'):  # the terminal's window is closed
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    restorer = make(WatchedRestorer)
    workshop = Workshop(restorer, args.upload_limit * 10**6, reading=reading)
    serve(workshop, args.host, args.port, ready)
    return DONE
