"""PostgreSQL, Redis and an S3 server on loopback, for tests that need a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from dev.paths import clean_environ
from dev.processes import Child, free_ports


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database ``airflow``: ``user@host:port/name``."""
    programs = _postgresql_programs()
    with tempfile.TemporaryDirectory(prefix="portkey-postgresql-") as folder:
        # PostgreSQL refuses to run as root.
        as_owner = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            as_owner = ["runuser", "-u", "postgres", "--"]
        (port,) = free_ports(1)
        data = Path(folder) / "data"
        control = [*as_owner, str(programs / "pg_ctl"), "-D", str(data), "-l", str(Path(folder) / "log"), "-w"]
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


@contextmanager
def redis() -> Iterator[str]:
    """The URL of an empty database of Redis."""
    from redis import Redis
    from redis.exceptions import ConnectionError as NotThereError

    program = _installed("redis-server") or _install("redis-server", "redis-server")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="portkey-redis-") as folder:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        log = Path(folder) / "log"
        with (
            Child("Redis", [program, *options], log=log, env=clean_environ(), cwd=Path(folder)) as server,
            Redis(port=port) as client,
        ):

            def responds() -> bool:
                try:
                    return bool(client.ping())
                except NotThereError:
                    return False

            server.wait_for(responds, "response")
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an S3 server without a bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    yield url
    # All servers of a process have the same buckets.
    requests.post(f"{url}/moto-api/reset", timeout=60).raise_for_status()
    server.stop()


def keys(s3: Any, bucket: str = "exports") -> list[str]:
    """Return the keys of a bucket's objects, a thousand at most."""
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def _postgresql_programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    return Path(_installed("pg_ctl") or _install("postgresql", "pg_ctl")).resolve().parent


def _install(package: str, program: str) -> str:
    """Return a program's path; root installs the Debian package."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            _run(["apt-get", "-q", *command], "/")
    return _installed(program) or pytest.fail(f"{program} is not installed: apt-get install {package}.")


def _installed(program: str) -> str | None:
    # Debian keeps PostgreSQL's programs off the PATH.
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")), shutil.which(program)]
    return next((str(path) for path in reversed(found) if path), None)


def _run(command: list[str], folder: str) -> None:
    # Into a file: a server that stays would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
        output.seek(0)
        assert done.returncode == 0, f"{' '.join(command)}: {output.read()}"
