"""Work shared with other processes that are started anew.

A forked process holds whatever locks the threads of its parent held at that moment, those of torch
and of OpenMP among them, and may wait for them for ever. ``multiprocessing`` that starts processes
anew runs the caller's own script in each, which one without ``if __name__ == '__main__'`` does not
survive. So these are plain interpreters that import one function (0.4 s of numpy and numba), while
the caller works at the first item itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

__all__ = ['map_beside']

_START = (
    'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
    'from mmclarity.utils.side_processes import serve; serve(sys.argv[2])'
)


def map_beside(name: str, items: Sequence[Any], workers: int) -> list[Any]:
    """Results of a function for all items, in their order.

    Args:
        name: ``'module:function'``; the module is imported in each process. Items and results are
            pickled, so that they are seen by the caller and the processes only.
        items: What the function is called with.
        workers: Processes, the caller among them.

    Raises:
        Exception: What the function raises; the others are not waited for then.
    """
    function = _function(name)
    todo = deque(enumerate(items))
    done: dict[int, Any] = {}
    sides: list[_Side] = []
    count = min(workers, len(items)) - 1 if sys.executable else 0  # else Python in a program
    if count < 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        try:
            with contextlib.suppress(OSError):  # where there is no process to be had: all here
                for _ in range(count):
                    sides.append(_Side(name))
            threads = [pool.submit(_work, todo, side.ask, done) for side in sides]
            _work(todo, function, done)
            for thread in threads:
                thread.result()
            # what a process had when it was ended, for want of memory, say
            todo.extend(item for item in enumerate(items) if item[0] not in done)
            _work(todo, function, done)
        except BaseException:
            todo.clear()
            raise
        finally:
            for side in sides:
                side.end()
    return [done[place] for place in range(len(items))]


def _work(todo: deque, function: Callable[[Any], Any], done: dict[int, Any]) -> None:
    """Take item by item until there is none, or the process is gone."""
    while True:
        try:
            place, item = todo.popleft()
        except IndexError:
            return
        try:
            done[place] = function(item)
        except _GoneError:
            return


class _GoneError(Exception):
    """The process has ended without an answer."""


class _Side:
    """One process and its pipes."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-c', _START, json.dumps([str(item) for item in sys.path]), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, item: Any) -> Any:
        sink, source = self.process.stdin, self.process.stdout
        assert sink is not None and source is not None
        try:
            sink.write(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
            sink.flush()
            result, told, error = pickle.load(source)
        except (OSError, EOFError, pickle.UnpicklingError) as gone:
            raise _GoneError from gone
        for text, category in told:
            warnings.warn(text, category, stacklevel=2)
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent any more
                    pipe.close()


def serve(name: str) -> None:
    """The process' side: answer until nobody asks any more."""
    sink = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's, who ends this one
    function, source = _function(name), sys.stdin.buffer
    while True:
        try:
            item = pickle.load(source)
        except EOFError:
            return
        result = error = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('default')
            try:
                result = function(item)
            except Exception as raised:
                error = _portable(raised)
        told = [(str(one.message), one.category) for one in caught]
        sink.write(pickle.dumps((result, told, error), pickle.HIGHEST_PROTOCOL))
        sink.flush()


def _portable(error: Exception) -> Exception:
    """An error that can be sent; its words alone where it cannot itself."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error


def _function(name: str) -> Callable[[Any], Any]:
    module, _, function = name.partition(':')
    return getattr(import_module(module), function)
