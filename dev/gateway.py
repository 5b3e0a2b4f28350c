"""The open-source Portkey gateway: its packages from the lock, started on loopback with the Node.js of the tools."""

from __future__ import annotations

from pathlib import Path

import psutil

from dev.environments import NODE, node_environ
from dev.node_packages import NodePackages
from dev.paths import NODE_PROJECT
from dev.processes import Child, free_ports
from dev.steps import StepFailedError
from dev.waiting import DEFAULT_TIMEOUT

_PACKAGES = NodePackages("gateway", NODE_PROJECT)
_PROGRAM = _PACKAGES.folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_READY = "Ready for connections"


def install() -> None:
    """Make the gateway's packages ready, once for each lock."""
    _PACKAGES.install()


class Gateway(Child):
    """
    A running gateway.

    :param log: The file for its output.
    :param timeout: Seconds that its start may take although it lives and moves.
    """

    def __init__(self, *, log: Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        (port,) = free_ports(1)
        #: The base URL, for a connection's ``host``.
        self.url = f"http://127.0.0.1:{port}/v1"
        preload = (NODE_PROJECT / "loopback.mjs").as_uri()
        command: list[str | Path] = [NODE, "--import", preload, _PROGRAM, f"--port={port}", "--headless"]
        name = "the Portkey gateway"
        super().__init__(name, command, log=log, env=node_environ(), cwd=_PACKAGES.folder, timeout=timeout, grace=5)

    def start(self) -> None:
        """Install it where it is not yet, start it, and wait until it takes connections on loopback alone."""
        install()
        super().start()
        try:
            self.wait_for(lambda: _READY in self.log_text(), f"'{_READY}' in its log")
            connections = self.family()[0].net_connections(kind="tcp")
            addresses = {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
            if addresses != {"127.0.0.1"}:
                raise StepFailedError(f"the gateway listens on {sorted(addresses)}, not on loopback alone.", self.log)
        except BaseException:
            self.stop()
            raise
