"""An application served on a port of the loopback interface, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

LOOPBACK = "127.0.0.1"

#: Seconds that a stop may take; far more than it does, so that a defect cannot hang a test run.
_TIMEOUT = 10.0

#: Seconds between two requests of a connection; a client that polls once a minute finds its connection still open.
_KEEP_ALIVE = 90


class _Protocol(H11Protocol):
    """Gives the application the connection, which a fault closes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does it only for sockets that name their protocol; without it, each response waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "connection": transport}


@contextlib.contextmanager
def serve(app: ASGIApp, *, port: int) -> Iterator[int]:
    """
    Serve an application, and yield the port. All waits are for events; ``uvicorn.Server`` polls ten times a second.

    :param port: 0 for any free port.
    """
    listener = socket.create_server((LOOPBACK, port))
    loop, stopping, state = asyncio.new_event_loop(), asyncio.Event(), ServerState()
    quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
    config = Config(app, ws="none", lifespan="off", timeout_keep_alive=_KEEP_ALIVE, **quiet)
    config.load()

    async def pause(seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)

    async def run() -> None:
        server = await loop.create_server(lambda: _Protocol(config, state, {"pause": pause}), sock=listener)
        await stopping.wait()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_TIMEOUT)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="portkey-mock-server", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(_TIMEOUT)
        loop.close()
