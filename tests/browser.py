"""Debian's Chromium, driven through its DevTools protocol over two pipes: no driver, no package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason='no Chromium to click in: apt install chromium'
)
PATIENCE = 90.0  # seconds; what comes is not waited for, and a busy machine takes its time


class Browser:
    """One page in a browser without a window.

    Args:
        profile: An empty folder for what the browser keeps.
        size: Of the page in pixels.
    """

    def __init__(self, profile: Path, size: tuple[int, int] = (1400, 860)) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        options = f'--user-data-dir={shlex.quote(str(profile))} --window-size={size[0]},{size[1]}'
        command = (
            f'exec 3<&{to_read} 4>&{to_write}; exec {CHROMIUM} --headless --no-sandbox '
            f'--disable-gpu --disable-dev-shm-usage --remote-debugging-pipe '
            f'{options} about:blank'
        )
        self._process = subprocess.Popen(
            ['bash', '-c', command],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._numbers, self._rest, self.complaints = itertools.count(1), b'', []
        self._session: str | None = None
        attached = self.send('Target.attachToTarget', targetId=self._first_page(), flatten=True)
        self._session = attached['sessionId']
        self.send('Runtime.enable')
        self.send('Page.enable')
        self.send(
            'Emulation.setDeviceMetricsOverride',
            width=size[0], height=size[1], deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def send(self, method: str, **parameters: Any) -> dict:
        """A command of the protocol, and its answer."""
        number = next(self._numbers)
        message = dict(id=number, method=method, params=parameters)
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == number:
                assert 'error' not in answer, answer
                return answer['result']

    def _first_page(self) -> str:
        """The browser may answer before it has opened one."""
        end = time.monotonic() + PATIENCE
        while True:
            for target in self.send('Target.getTargets')['targetInfos']:
                if target['type'] == 'page':
                    return target['targetId']
            assert time.monotonic() < end, 'Chromium opens no page'
            time.sleep(0.02)

    def _receive(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b'\0' not in self._rest:
            ready = select.select([self._in], [], [], max(0, end - time.monotonic()))[0]
            content = os.read(self._in, 1 << 20) if ready else b''
            assert content, 'Chromium has gone or does not answer'
            self._rest += content
        message, self._rest = self._rest.split(b'\0', 1)
        message = json.loads(message)
        if message.get('method') == 'Runtime.exceptionThrown':
            details = message['params']['exceptionDetails']
            self.complaints.append(details.get('exception', details).get('description', details))
        return message

    def open(self, path: Path) -> None:
        """Load a file, and wait until it has run."""
        self.visit(path.resolve().as_uri())

    def visit(self, address: str) -> None:
        """Load a page, and wait until it has run."""
        loading = self.send('Page.navigate', url=address)
        assert 'errorText' not in loading, loading
        end = time.monotonic() + PATIENCE
        # The answer comes before the change: until then, scripts would run in the page before.
        while (
            self.send('Page.getFrameTree')['frameTree']['frame']['loaderId'] != loading['loaderId']
        ):
            assert time.monotonic() < end, f'never there: {address}'
            time.sleep(0.02)
        self.wait('document.readyState === "complete"')

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Give files to an input, as its dialogue does."""
        root = self.send('DOM.getDocument')['root']['nodeId']
        node = self.send('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.send('DOM.setFileInputFiles', nodeId=node, files=[str(path) for path in paths])

    def run(self, script: str) -> Any:
        """What a piece of JavaScript gives."""
        result = self.send('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def wait(self, script: str, seconds: float = PATIENCE) -> None:
        """Until a condition holds."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f'never: {script}'
            time.sleep(0.02)

    def place(self, selector: str) -> tuple[float, float]:
        """Middle of an element in pixels of the page."""
        box = self.run(
            f'(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();'
            'return [r.x + r.width / 2, r.y + r.height / 2]; })()'
        )
        return box[0], box[1]

    def mouse(self, selector: str, *kinds: str) -> None:
        """Move the pointer to an element; with 'mousePressed', 'mouseReleased' click it."""
        x, y = self.place(selector)
        # A pointer does not jump: of one move alone Chromium may leave an element unaware.
        for kind, off in (('mouseMoved', 1), ('mouseMoved', 0), *((kind, 0) for kind in kinds)):
            self.send(
                'Input.dispatchMouseEvent', type=kind, x=x - off, y=y,
                button='none' if kind == 'mouseMoved' else 'left', clickCount=1,
            )  # fmt: skip

    def click(self, selector: str) -> None:
        """As a reader does."""
        self.mouse(selector, 'mousePressed', 'mouseReleased')

    def key(self, name: str) -> None:
        """Press a key by its name ('ArrowDown', 'c')."""
        for kind in ('keyDown', 'keyUp'):
            text = dict(text=name) if len(name) == 1 and kind == 'keyDown' else {}
            self.send('Input.dispatchKeyEvent', type=kind, key=name, **text)

    def picture(self) -> bytes:
        """The page as it looks, PNG."""
        return base64.b64decode(self.send('Page.captureScreenshot')['data'])

    def close(self) -> None:
        """End it."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
