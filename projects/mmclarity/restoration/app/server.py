"""HTTP for the page: a handful of routes, loopback by default, nothing but tokens as addresses.

Any page that the user has open can send requests to this machine. Three things keep them out: only
known host names are answered (so that a name of theirs that points to 127.0.0.1 is not), changes
need a header that a foreign page may not send without asking, and results need a token that it
cannot guess. Starlette and uvicorn were chosen over Gradio, whose newest release that goes with
huggingface_hub 0.25 is of 2023: four small packages instead of thirty-five.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mmclarity.errors import UsageError
from mmclarity.utils.files import check_room

from ..io import sidecars
from ..io.micrograph import READABLE
from .jobs import Job, Refused, RefusedUpload, Workshop, limit_text

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ['make_app', 'serve']

HEADER = 'x-mmclarity'
LOOPBACK = ('127.0.0.1', 'localhost', '[::1]')
STATIC = {
    'page.html': 'text/html; charset=utf-8',
    'page.css': 'text/css; charset=utf-8',
    'page.js': 'text/javascript; charset=utf-8',
}
POLICY = {
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
}


def make_app(workshop: Workshop, hosts: Sequence[str] | None = LOOPBACK) -> Starlette:
    """The application.

    Args:
        workshop: does the work.
        hosts: names under which it may be called; None for any.

    Raises:
        ModuleNotFoundError: Starlette is missing; the message says how to get it.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'the page needs {error.name}: pip install "mmclarity[app]" '
            '(or: pip install starlette uvicorn)'
        ) from error
    routes = _Routes(workshop)
    return Starlette(
        routes=[
            Route('/', routes.page),
            Route('/{name:str}', routes.page),
            Route('/api/settings', routes.settings),
            Route('/api/jobs', routes.upload, methods=['POST']),
            Route('/api/jobs/{token:str}', routes.job, methods=['GET', 'DELETE']),
            Route('/api/jobs/{token:str}/channel/{channel:int}', routes.choose, methods=['POST']),
            Route('/api/jobs/{token:str}/result', routes.result),
            Route('/api/jobs/{token:str}/{page:int}/{kind:str}.png', routes.preview),
        ],
        middleware=[Middleware(_KnownHosts, hosts=hosts)],
        exception_handlers={Refused: _refuse},
    )


async def _refuse(request: Request, error: Refused) -> Response:
    return _answer(error.status, error=str(error))


class _KnownHosts:
    """Answers requests to known host names only."""

    def __init__(self, app: Any, hosts: Sequence[str] | None) -> None:
        self.app, self.hosts = app, None if hosts is None else set(hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope['type'] == 'http' and self.hosts is not None:
            called = dict(scope['headers']).get(b'host', b'').decode('latin-1').lower()
            if re.sub(r':\d+$', '', called) not in self.hosts:
                await _answer(421, error='unknown host name')(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _Routes:
    """What is answered under each address."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        folder = resources.files(__package__) / 'static'
        self.static = {name: (folder / name).read_bytes() for name in STATIC}

    def _known(self, request: Request) -> Job:
        """The job that a request names.

        Raises:
            Refused: there is none.
        """
        job = self.workshop.find(request.path_params['token'])
        if job is None:
            raise Refused('this image is not here any more', 404)
        return job

    async def page(self, request: Request) -> Response:
        """The page itself, its style and its script: three names, no folder behind them."""
        name = request.path_params.get('name', 'page.html')
        if name not in STATIC:
            return _answer(404, error='there is no such page')
        from starlette.responses import Response

        return Response(self.static[name], media_type=STATIC[name], headers=POLICY)

    async def settings(self, request: Request) -> Response:
        """What the page has to know before an upload."""
        limit, restorer = self.workshop.limit, self.workshop.restorer
        return _answer(
            200,
            limit=limit,
            limit_text=limit_text(limit),
            suffixes=list(READABLE),
            texts=dict(
                suffixes=list(sidecars.SUFFIXES),
                # the page does not tell capitals apart
                names=list(dict.fromkeys(kind.lower() for kind in sidecars.KINDS)),
                limit=sidecars.MOST_TEXT,
            ),
            sharpen=bool(restorer.sharpen),
            # of one's own; names alone, as of all that is told
            weights=[Path(path).name for path in restorer.weights],
            slow_levels=restorer.levels.wanted,
        )

    async def upload(self, request: Request) -> Response:
        """``POST /api/jobs?name=...&doubts=1`` with the file as body: 201 and the job.

        With ``&beside=txt-812`` the first 812 bytes are the text file (txt or hdr) that the
        microscope put beside the image.
        """
        _check_header(request)
        name = request.query_params.get('name', '')
        job = None
        try:
            self._check_length(request.headers.get('content-length'), name)
            job = self.workshop.new(name, request.query_params.get('doubts', '1') == '1')
            await self._receive(request, job, request.query_params.get('beside', ''))
        except BaseException:  # it is refused, or the connection broke
            if job is not None:
                self.workshop.remove(job)
            raise
        self.workshop.start(job)
        return _answer(201, **job.told(self.workshop.ahead(job)))

    def _check_length(self, length: str | None, name: str) -> None:
        size = int(length) if length is not None and length.isdecimal() else 0
        if size > self.workshop.limit:
            raise self._too_large(name)
        try:
            check_room(self.workshop.folder, 4 * size)
        except OSError as error:
            raise RefusedUpload(f'the disk of this machine is full: {error}', 507) from error

    async def _receive(self, request: Request, job: Job, beside: str) -> None:
        text, size = job.text_beside(beside) if beside else (None, 0)
        got, left = 0, bytearray()
        with job.source.open('xb') as file:
            async for chunk in request.stream():
                got += len(chunk)
                if got > self.workshop.limit:
                    raise self._too_large(job.name)
                if len(left) < size:
                    more = size - len(left)
                    left += chunk[:more]
                    chunk = chunk[more:]
                file.write(chunk)
        if got <= size:
            raise RefusedUpload(f'{job.name}: is empty; copy it again')
        if text is not None:
            text.write_bytes(left)

    def _too_large(self, name: str) -> RefusedUpload:
        limit = limit_text(self.workshop.limit)
        return RefusedUpload(
            f'{name or "the file"}: is larger than {limit}, the limit of this page '
            '(--upload-limit raises it)',
            413,
        )

    async def job(self, request: Request) -> Response:
        """The state of a job, or its end."""
        job = self._known(request)
        if request.method == 'DELETE':
            _check_header(request)
            self.workshop.remove(job)
            return _answer(200, state='cancelled')
        return _answer(200, **job.told(self.workshop.ahead(job)))

    async def choose(self, request: Request) -> Response:
        """Which channel of a coloured picture is restored."""
        job = self._known(request)
        _check_header(request)
        self.workshop.choose(job, request.path_params['channel'])
        return _answer(200, **job.told(self.workshop.ahead(job)))

    async def result(self, request: Request) -> Response:
        """The restored file, with ``?sharp=1`` the sharpened one, under the user's name for it."""
        from starlette.responses import FileResponse

        job = self.workshop.find(request.path_params['token'])
        sharp = request.query_params.get('sharp') == '1'
        file = None if job is None else job.sharp if sharp else job.result
        if job is None or file is None or job.state != 'done':
            return _answer(404, error='this image is not ready')
        disposition = f"attachment; filename*=UTF-8''{quote(job.download_name(sharp), safe='')}"
        return FileResponse(
            file,
            media_type='application/octet-stream',
            headers={**POLICY, 'content-disposition': disposition},
        )

    async def preview(self, request: Request) -> Response:
        """``before.png``, ``after.png`` and ``sharp.png`` of one picture."""
        from starlette.responses import FileResponse

        job = self.workshop.find(request.path_params['token'])
        page, kind = request.path_params['page'], request.path_params['kind']
        known = job is not None and kind in ('before', 'after', 'sharp') and page < len(job.pages)
        if job is None or not known or (kind == 'sharp' and not job.pages[page]['sharp']):
            return _answer(404, error='there is no such picture')
        # a picture of a token never changes
        headers = {**POLICY, 'cache-control': 'private, max-age=3600'}
        return FileResponse(job.folder / f'{page}_{kind}.png', headers=headers)


def _check_header(request: Request) -> None:
    """Raises Refused for a change that a page elsewhere could have sent."""
    if HEADER not in request.headers:
        raise Refused(f'the header {HEADER} is missing: changes come from the page', 403)


def _answer(status: int, **content: object) -> Response:
    from starlette.responses import Response

    text = json.dumps(content, allow_nan=False)
    return Response(text, status, media_type='application/json', headers=POLICY)


def serve(
    workshop: Workshop,
    host: str = '127.0.0.1',
    port: int = 8765,
    ready: Callable[[str], object] = print,
) -> None:
    """Answers until it is interrupted.

    Args:
        workshop: is closed at the end.
        host: address to listen at; other machines reach it only if it is none of the loopback.
        port: 0 for a free one.
        ready: called with the address of the page as soon as it can be opened.

    Raises:
        UsageError: the address cannot be listened at.
        ModuleNotFoundError: ``mmclarity[app]`` is not installed.
    """
    try:
        server = _server(make_app(workshop, LOOPBACK if is_loopback(host) else None))
        listener = _listener(host, port)
        # Ctrl-C may come as soon as the address is told.
        with listener, suppress(KeyboardInterrupt):
            shown = f'[{host}]' if ':' in host else host
            ready(f'http://{shown}:{listener.getsockname()[1]}/')
            server.run(sockets=[listener])
    finally:
        workshop.close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f'{host}:{port} cannot be listened at: {error.strerror or error}; choose another '
            '--port (0 for any free one)'
        ) from error


def _server(app: Starlette) -> uvicorn.Server:
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'the page needs {error.name}: pip install "mmclarity[app]"'
        ) from error
    # Its own logging configuration closes the log files of everything else in the process.
    config = uvicorn.Config(
        app, log_config=None, log_level='warning', server_header=False, timeout_keep_alive=30
    )
    return uvicorn.Server(config)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
