"""Prism, a mock server that refuses every request that an OpenAPI contract does not allow, on loopback."""

from __future__ import annotations

from pathlib import Path

from dev.environments import NODE, node_environ
from dev.node_packages import NodePackages
from dev.paths import PRISM_PROJECT
from dev.processes import Child, free_ports
from dev.waiting import DEFAULT_TIMEOUT

_PACKAGES = NodePackages("prism", PRISM_PROJECT)
_PROGRAM = _PACKAGES.folder / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
_READY = "Prism is listening"


class Prism(Child):
    """
    A running Prism.

    :param contract: The OpenAPI file.
    :param log: The file for its output.
    :param timeout: Seconds that its start may take although it lives and moves.
    """

    def __init__(self, contract: Path, *, log: Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        (port,) = free_ports(1)
        #: The address, without a path.
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [NODE, _PROGRAM, "mock", "--errors", "--host", "127.0.0.1", "--port", str(port)]
        command.append(contract)
        super().__init__("Prism", command, log=log, env=node_environ(), cwd=log.parent, timeout=timeout, grace=5)

    def start(self) -> None:
        """Install it where it is not yet, start it, and wait until it takes connections."""
        _PACKAGES.install()
        super().start()
        try:
            self.wait_for(lambda: _READY in self.log_text(), f"'{_READY}' in its log")
        except BaseException:
            self.stop()
            raise
