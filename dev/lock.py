"""Resolve ``requirements/*.in`` and ``dev/node/package.json`` again: ``python3 -m dev lock``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dev import gateway, uv
from dev.phases import phase, run_logged
from dev.places import LOGS, NODE_PROJECT, REQUIREMENTS

_HEADER = "# Made from {source} by `python3 -m dev lock`; do not edit.\n"
_COMPILE = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate")
#: The oldest Python decides what is chosen for all; the later ones get their own line only where they must.
#: 3.0.6 and 3.2.2 install with the newest packages and then break (fastapi, cadwyn): they are resolved as of a day
#: shortly after their release. Only common-compat, which smooths the differences between the lines, is the newest.
_AS_OF = {"test-3.0": "2025-09-15", "test-3.2": "2026-06-20"}
_NEWEST = ("--exclude-newer-package", "apache-airflow-providers-common-compat=2026-11-20")
#: The demo's lock comes after the one of the tests, which its versions follow.
_LOCKS = ("uv", "node", "test-2.11", "test-3.0", "test-3.1", "test-3.2", "test-3.3", "airflow-3.3")


def _lock_python(name: str, program: Path, log: Path) -> None:
    target = REQUIREMENTS / f"{name}.txt"
    options = [*_COMPILE]
    if name in ("uv", "node"):
        options += ["--only-binary", ":all:"]
    if name in _AS_OF:
        options += ["--exclude-newer", _AS_OF[name], *_NEWEST]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        command: list[str | Path] = [program, "pip", "compile", f"{name}.in", *options, "-q", "-o", made]
        run_logged(command, log=log, env=uv.uv_environ(), cwd=REQUIREMENTS)
        target.write_text(_HEADER.format(source=f"{name}.in") + made.read_text())


def _lock_node(log: Path) -> None:
    npm = gateway.find_node(log)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(NODE_PROJECT / "package.json", folder)
        options = ["--package-lock-only", "--omit-lockfile-registry-resolved", *gateway.NPM_OPTIONS]
        run_logged([*npm.npm, "install", *options], log=log, env=npm.environ(), cwd=Path(folder))
        made = json.loads((Path(folder) / "package-lock.json").read_text())
    for package in made["packages"].values():
        _without_hosts(package)
    (NODE_PROJECT / "package-lock.json").write_text(json.dumps(made, indent=2) + "\n")


def _without_hosts(package: dict[str, Any]) -> None:
    """Leave out where a package was found and who pays for it: neither is needed to check its hash."""
    package.pop("resolved", None)
    package.pop("funding", None)


def main() -> int:
    """
    Resolve all locks.

    :return: The exit code.
    :raises PhaseFailed: One could not be resolved.
    """
    log = LOGS / "lock.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    # A lock is for everyone: the settings of this machine's uv stay out of it.
    for name in [name for name in os.environ if name.startswith("UV_EXCLUDE") or name == "UV_CONSTRAINT"]:
        del os.environ[name]
    with phase("uv, with pip"):
        program = uv.bootstrap(log) / "bin" / "uv"
    for name in _LOCKS:
        with phase(f"{name}.txt"):
            _lock_python(name, program, log)
    with phase("package-lock.json"):
        _lock_node(log)
    return 0
