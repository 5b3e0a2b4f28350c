"""An application served on a port of the loopback interface, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

LOOPBACK = "127.0.0.1"

#: Seconds. Far more than a start or a stop takes, so that a defect cannot hang a test run.
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


class LoopbackServer:
    """
    A server inside a ``with`` block. It waits for events, where ``uvicorn.Server`` polls ten times a second.

    :param port: on 127.0.0.1; 0 for any free port.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        self._config = Config(app, ws="none", lifespan="off", timeout_keep_alive=_KEEP_ALIVE, log_config=None)
        self._requested_port = port
        self.port = 0

    def __enter__(self) -> LoopbackServer:
        self._socket = socket.create_server((LOOPBACK, self._requested_port))
        self.port = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="portkey-mock-server")
        self._thread.daemon = True
        self._thread.start()
        if not self._ready.wait(_TIMEOUT):
            raise RuntimeError("The mock server did not start")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_TIMEOUT)

    async def _serve(self) -> None:
        self._loop, self._stopping, state = asyncio.get_running_loop(), asyncio.Event(), ServerState()
        self._config.load()
        app_state = {"pause": self._pause}
        server = await self._loop.create_server(lambda: _Protocol(self._config, state, app_state), sock=self._socket)
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_TIMEOUT)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
