"""Packages of npm, each project from its lock, installed below the cache with the Node.js of the tools."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from dev.environments import NODE, NPM, install_tools, locked, node_environ
from dev.paths import CACHE, LOGS, digest
from dev.steps import run_logged


@dataclass(frozen=True)
class NodePackages:
    """
    The packages of one project.

    :param name: What its folder and its log are called.
    :param project: The folder with ``package.json`` and ``package-lock.json``.
    """

    name: str
    project: Path

    @property
    def _files(self) -> tuple[Path, Path]:
        return self.project / "package.json", self.project / "package-lock.json"

    @property
    def folder(self) -> Path:
        """Where they are installed."""
        return CACHE / f"{self.name}-{digest(*self._files)}"

    def install(self) -> None:
        """Make them ready, once for each lock."""
        if self.folder.exists() and NODE.exists():
            return
        with locked():
            install_tools()
            if self.folder.exists():
                return
            # Renamed only when whole, so that an interrupted install is never taken for a finished one.
            making = CACHE / f"{self.name}-unfinished"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            for file in self._files:
                shutil.copy(file, making)
            run_logged([*NPM, "ci"], log=LOGS / f"{self.name}-install.log", env=node_environ(), cwd=making)
            making.rename(self.folder)
