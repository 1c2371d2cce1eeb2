"""Files whose reader may crash or hang are read in a process of its own.

The C libraries behind MATLAB and HDF5 files trust what a file says about itself: a damaged one can
end the process with a segmentation fault, or turn in a circle for ever. No ``except`` helps against
either. So one child process reads such files, one after the other, and hands back what it found as
plain data; nothing is pickled. It is started for the first file (0.2 to 0.4 s), ends by itself when
it has been idle for a while, and is started anew after a crash.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmclarity.errors import DataError, said

__all__ = ['read_in_child']

#: Processor time that a file may take: this many seconds, and a second more for each megabyte.
SECONDS = 30.0
_IDLE = 30.0  # seconds after which a child that has nothing to do ends
_START = (
    'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
    'from mmclarity.utils.child import serve; serve()'
)


def read_in_child(reader: str, path: str | Path, *more: str | None) -> Any:
    """What a reader makes of a file, called in another process.

    Args:
        reader: ``'module:function'`` of a function that takes a ``Path`` and returns texts,
            numbers, None, arrays, and lists and dicts (with texts as keys) of these. Arrays of
            objects are handed back if they hold texts; others keep their shape only.
        path: The file.
        more: What the reader takes behind the path.

    Raises:
        DataError: If the reader raised one.
        ModuleNotFoundError: If the reader did.
        ValueError: If the reader raised anything else, with what it said; or if the file crashed
            it or held it for more than :data:`SECONDS` and a second a megabyte of processor time.
            The message does not name the file.
    """
    path = Path(path)
    if not sys.executable:  # Python inside another program
        return _function(reader)(path, *more)
    limit = SECONDS + path.stat().st_size / 1e6
    request = dict(reader=reader, path=str(path.absolute()), more=more, limit=limit)
    with _lock:
        header, result = _asked(request)
    for text in header['warnings']:
        warnings.warn(text, stacklevel=3)
    if 'error' in header:
        kinds: dict[str, type[Exception]] = dict(data=DataError, module=ModuleNotFoundError)
        raise kinds.get(header['kind'], ValueError)(header['error'])
    return result


class _Child:
    """The process and its pipes."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, '-c', _START, json.dumps([str(item) for item in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], Any] | None:
        """The answer, or None if the process ended before it."""
        sink, source = self.process.stdin, self.process.stdout
        assert sink is not None and source is not None
        # Windows counts no processor time for us: the time on the clock, with room for others.
        watch = threading.Timer(5 * request['limit'], self.process.kill)
        try:
            sink.write(json.dumps(request).encode() + b'\n')
            sink.flush()
            if not hasattr(signal, 'setitimer'):
                watch.start()
            return _received(source)
        except (BrokenPipeError, EOFError, ValueError):
            return None
        finally:
            watch.cancel()

    def end(self) -> int:
        """Wait for the process, which has closed its pipes or is told to; its exit status."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


_lock = threading.Lock()
_child: _Child | None = None


def _asked(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    global _child
    for _ in range(2):  # a child that had just ended for idleness is no fault of the file
        if _child is None or _child.pid != os.getpid():
            _child = _Child()
        try:
            answer = _child.ask(request)
        except BaseException:  # Ctrl-C, no memory: the rest of an answer may be on its way
            _child.process.kill()
            _child.end()
            _child = None
            raise
        if answer is not None:
            return answer
        status, _child = _child.end(), None
        if status != 0:
            raise ValueError(_why(status, request['limit']))
    raise RuntimeError(f'{sys.executable}: the process that reads files does not start')


def _why(status: int, limit: float) -> str:
    if status == -getattr(signal, 'SIGPROF', 0):
        return f'its reader came to no end and was ended after {limit:.3g} s of processor time'
    if status == -getattr(signal, 'SIGKILL', 0):
        return 'its reader was killed, as systems do when the memory is full'
    names = {-item.value: item.name for item in signal.Signals}
    return f'it crashes its reader ({names.get(status, f"status {status}")})'


def _forget() -> None:
    """In a process that was forked: the child belongs to the parent, the lock may be held."""
    global _child, _lock
    _child, _lock = None, threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def _end() -> None:
    global _child
    if _child is not None and _child.pid == os.getpid():
        _child.end()
        _child = None


def serve() -> None:
    """The child's side: read what is asked for until nobody asks any more."""
    sink = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # what libraries print is no answer
    source = sys.stdin.buffer.raw
    _restrict()
    while line := _line(source):
        request = json.loads(line)
        if hasattr(signal, 'setitimer'):
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, request['limit'])
        header, result = _answer(request)
        if hasattr(signal, 'setitimer'):
            signal.setitimer(signal.ITIMER_PROF, 0)
        _send(sink, header, result)
        del result  # may be large, and the next request may be long in coming


def _restrict() -> None:
    """No core files of crashes; absurd sizes meet a MemoryError before the machine's end."""
    if os.name != 'posix':
        return
    import resource

    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    for kind, wanted in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory)):
        _, most = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):
            if most == resource.RLIM_INFINITY or wanted < most:
                resource.setrlimit(kind, (wanted, most))


def _line(source: Any) -> bytes:
    """The next request; nothing at the end or after a while without one."""
    if os.name == 'posix' and not select.select([source], [], [], _IDLE)[0]:
        return b''
    line = bytearray()
    while not line.endswith(b'\n'):
        piece = source.read(1)
        if not piece:
            return b''
        line += piece
    return bytes(line)


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    header: dict[str, Any] = {}
    result = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            result = _function(request['reader'])(Path(request['path']), *request['more'])
        except DataError as error:
            header.update(error=str(error), kind='data')
        except ModuleNotFoundError as error:
            header.update(error=str(error), kind='module')
        except Exception as error:
            header.update(error=said(error), kind='other')
    header['warnings'] = [
        str(item.message) for item in caught if issubclass(item.category, UserWarning)
    ]
    return header, result


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(':')
    return getattr(import_module(module), function)


class _Pipe:
    """A file that numpy does not take for one on a disk, where it would ask for the position."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.write = file.read, file.write


def _send(sink: IO[bytes], header: dict[str, Any], result: Any) -> None:
    arrays: list[np.ndarray] = []
    header['result'] = _packed(result, arrays)
    sink.write(json.dumps(header).encode() + b'\n')
    for array in arrays:
        np.lib.format.write_array(_Pipe(sink), array, allow_pickle=False)
    sink.flush()


def _received(source: IO[bytes]) -> tuple[dict[str, Any], Any]:
    line = source.readline()
    if not line.endswith(b'\n'):
        raise EOFError
    header = json.loads(line)
    return header, _unpacked(header.pop('result'), source)


def _packed(value: Any, arrays: list[np.ndarray]) -> Any:
    """As JSON; arrays are put aside in the order in which :func:`_unpacked` meets them."""
    if isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        if value.dtype.kind == 'O' and all(isinstance(item, str) for item in value.flat):
            return dict(texts=list(value.flat), shape=value.shape)
        arrays.append(np.zeros(value.shape, 'V1') if value.dtype.hasobject else value)
        return dict(array=True)
    if isinstance(value, dict):
        return dict(dict=[[key, _packed(item, arrays)] for key, item in value.items()])
    if isinstance(value, list | tuple):
        return [_packed(item, arrays) for item in value]
    return value


def _unpacked(value: Any, source: IO[bytes]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, source) for item in value]
    if not isinstance(value, dict):
        return value
    if 'array' in value:
        return np.lib.format.read_array(_Pipe(source), allow_pickle=False)
    if 'texts' in value:
        texts = np.empty(len(value['texts']), object)
        texts[:] = value['texts']
        return texts.reshape(value['shape'])
    return {key: _unpacked(item, source) for key, item in value['dict']}
