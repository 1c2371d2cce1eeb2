"""The page in the browser, served for the tests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mmclarity.restoration.app.jobs import Workshop
from mmclarity.restoration.app.watched import WatchedRestorer
from tests.restoration.app.served import LIMIT


@pytest.fixture(scope='module')
def port(tmp_path_factory) -> Iterator[int]:
    """A running page."""
    log = logging.FileHandler(tmp_path_factory.mktemp('log') / 'of_something_else.log')
    workshop = Workshop(WatchedRestorer(), LIMIT)
    addresses, servers = [], []
    import uvicorn

    from mmclarity.restoration.app import server

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

        def install_signal_handlers(self) -> None:
            """Not in a thread."""

    original, uvicorn.Server = uvicorn.Server, Server
    try:
        thread = threading.Thread(
            target=server.serve, args=(workshop, '127.0.0.1', 0, addresses.append), daemon=True
        )
        thread.start()
        while not (addresses and servers and servers[0].started):
            assert thread.is_alive()
            time.sleep(0.02)
        assert log.stream is not None  # the page closes no log but its own
        log.close()
        yield int(addresses[0].rstrip('/').rpartition(':')[2])
        servers[0].should_exit = True
        thread.join(300)
        assert not workshop.folder.exists()  # nothing is left behind
    finally:
        uvicorn.Server = original


@pytest.fixture
def gate(monkeypatch) -> Iterator[threading.Event]:
    """The page's work does not go on until this is set."""
    event, usual = threading.Event(), WatchedRestorer.restore_file

    def waiting(self: WatchedRestorer, *arguments: Any, **options: Any) -> Any:
        event.wait(600)
        return usual(self, *arguments, **options)

    monkeypatch.setattr(WatchedRestorer, 'restore_file', waiting)
    yield event
    event.set()
