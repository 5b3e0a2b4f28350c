"""The open-source Portkey gateway: its packages from the lock, started on loopback with the Node.js of the tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from dev.environments import NODE, NPM, install_tools, locked, node_environ
from dev.paths import CACHE, LOGS, NODE_PROJECT, digest
from dev.processes import Child, free_ports
from dev.steps import StepFailedError, run_logged
from dev.waiting import DEFAULT_TIMEOUT

_PACKAGE_FILES = (NODE_PROJECT / "package.json", NODE_PROJECT / "package-lock.json")
_FOLDER = CACHE / f"gateway-{digest(*_PACKAGE_FILES)}"
_PROGRAM = _FOLDER / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_READY = "Ready for connections"


def install() -> None:
    """Make the gateway's packages ready, once for each lock."""
    if _FOLDER.exists() and NODE.exists():
        return
    with locked():
        install_tools()
        if _FOLDER.exists():
            return
        # Renamed only when whole, so that an interrupted install is never taken for a finished one.
        making = CACHE / "gateway-unfinished"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for file in _PACKAGE_FILES:
            shutil.copy(file, making)
        run_logged([*NPM, "ci"], log=LOGS / "gateway-install.log", env=node_environ(), cwd=making)
        making.rename(_FOLDER)


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
        super().__init__(name, command, log=log, env=node_environ(), cwd=_FOLDER, timeout=timeout, grace=5)

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
