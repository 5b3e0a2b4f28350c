"""An application served on a port of the loopback interface, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"

#: Seconds. Far more than a start or a stop takes, so that a defect cannot hang a test run.
_TIMEOUT = 10.0

#: Seconds for the responses in progress when the server stops.
_GRACE_PERIOD = 1.0


class _Protocol(H11Protocol):
    """Gives the application the connection, which a fault closes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does it only for sockets that name their protocol; without it, each response waits 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "connection": transport}


class _Server(uvicorn.Server):
    """Waits for events where its base polls ten times a second, at work and when it stops."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.lifespan.state["pause"] = self._pause
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # One turn of the loop closes idle connections. Responses in progress may end, unless nobody reads them.
        await asyncio.sleep(0)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_GRACE_PERIOD)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_GRACE_PERIOD)

    def stop(self) -> None:
        """Stop it; called from another thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class LoopbackServer:
    """
    A server inside a ``with`` block.

    :param port: on 127.0.0.1; 0 for any free port.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        self._app = app
        self._requested_port = port
        self.port = 0

    def __enter__(self) -> LoopbackServer:
        quiet: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False}
        # The keep-alive lets a client that polls once a minute find its connection still open.
        config = uvicorn.Config(
            self._app, http=_Protocol, loop="asyncio", ws="none", lifespan="off", timeout_keep_alive=60, **quiet
        )
        self._socket = socket.create_server((LOOPBACK, self._requested_port))
        self.port = self._socket.getsockname()[1]
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name="portkey-mock-server", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_TIMEOUT) or not self._server.started:
            raise RuntimeError("The mock server did not start")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.stop()
        self._thread.join(_TIMEOUT)

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.ready.set()
            self._socket.close()
