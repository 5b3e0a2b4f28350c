"""DAGs on a real metadata database, and a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def parse_dags() -> Callable[[Path], dict[str, Any]]:
    """Parse a file or a folder as Airflow does, and return the DAGs by their ids."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.1
        from airflow.models.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()

    def parse(path: Path) -> dict[str, Any]:
        bag = DagBag(dag_folder=path)
        assert bag.import_errors == {}
        return dict(bag.dags)

    return parse


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of an empty database ``airflow``: ``user@host:port/name``."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="portkey-postgresql-") as folder:
        # PostgreSQL refuses to run as root.
        as_owner = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            as_owner = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        data = Path(folder) / "data"
        log = Path(folder) / "log"
        control = [*as_owner, str(programs / "pg_ctl"), "-D", str(data), "-l", str(log), "-w"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        _run(
            [*as_owner, str(programs / "initdb"), "-D", str(data), "-U", "airflow", "-A", "trust", "-E", "UTF8"], folder
        )
        _run([*control, "-o", options, "start"], folder)
        try:
            at = ["-h", "127.0.0.1", "-p", str(port), "-U", "airflow"]
            _run([str(programs / "createdb"), *at, "airflow"], folder)
            yield f"airflow@127.0.0.1:{port}/airflow"
        finally:
            _run([*control, "-m", "immediate", "stop"], folder)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs; root installs the Debian package where they are missing."""
    if not (found := _newest()) and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            _run(["apt-get", "-q", *command], "/")
        found = _newest()
    if not found:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql.")
    return found


def _newest() -> Path | None:
    found = [Path(program).parent for program in (shutil.which("initdb"),) if program]
    found += sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((folder for folder in reversed(found) if (folder / "pg_ctl").exists()), None)


def _run(command: list[str], folder: str) -> None:
    # Into a file: a server that stays would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
        output.seek(0)
        assert done.returncode == 0, f"{' '.join(command)}: {output.read()}"
