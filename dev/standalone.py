"""A real ``airflow standalone`` in a folder of its own, on ports of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from dev.airflow_api import AirflowApi
from dev.phases import PhaseFailed
from dev.places import clean_environ
from dev.processes import Child, free_ports

USERNAME = "admin"
#: The parts whose heartbeat Airflow's health answer shows.
_HEARTBEATS = ("scheduler", "dag_processor", "triggerer")


class Standalone:
    """
    A running Airflow, as a context manager: database, API server, scheduler, DAG processor and triggerer.

    :param folder: For everything it writes; its ``AIRFLOW_HOME``.
    :param dags_folder: The DAG files.
    :param connections: Connection id to its fields, as of Airflow's JSON form; they travel in the environment only.
    :param settings: More environment variables (``AIRFLOW__SECTION__OPTION``), stronger than those set here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dags_folder: Path,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._dags_folder = dags_folder.resolve()
        port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.api = AirflowApi(self.url)
        self.log = self.folder / "standalone.log"
        env = _environ(self.folder, self._dags_folder, self.url, log_ports)
        env.update({f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in (connections or {}).items()})
        env.update(settings or {})
        self._env = env
        self._child = Child("Airflow", [_airflow(), "standalone"], log=self.log, env=env, cwd=self.folder)
        self._more: list[Child] = []

    @property
    def pid(self) -> int:
        """The id of the parent process."""
        return self._child.pid

    @property
    def password(self) -> str:
        """Airflow's own random password for :data:`USERNAME`."""
        file = self.folder / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text().splitlines()[0])[USERNAME])

    def start(self, *, seconds: float = 180.0) -> None:
        """
        Start it, and wait until every part is healthy.

        :param seconds: How long that may take.
        :raises PhaseFailed: It ended, or was not healthy in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._child.start()
        try:
            self._child.wait_for(
                self.is_healthy, seconds=seconds, what="healthy scheduler, DAG processor and triggerer"
            )
            # The execution API is set up at its first request: six seconds that the first task would pay.
            self._child.wait_for(lambda: self.api.try_get("/execution/health"), seconds=60, what="execution API")
            self.api.login(USERNAME, self.password)
        except BaseException:
            self.stop()
            raise

    def is_healthy(self) -> bool:
        """Tell whether the database answers and every part has had a heartbeat lately."""
        return all(status == "healthy" for status in self.health().values())

    def health(self) -> dict[str, str | None]:
        """Return the status of ``metadatabase``, ``scheduler``, ``dag_processor`` and ``triggerer``."""
        answer = self.api.try_get("/monitor/health") or {}
        return {part: (answer.get(part) or {}).get("status") for part in ("metadatabase", *_HEARTBEATS)}

    def wait_for_dag(self, dag_id: str, *, seconds: float = 90.0) -> None:
        """
        Wait until a DAG has been parsed.

        :param dag_id: The DAG.
        :param seconds: How long at most.
        :raises PhaseFailed: It was not there in time, or its file could not be imported.
        """

        def parsed() -> bool:
            if self.api.try_get(f"/dags/{dag_id}/details") is not None:
                return True
            for name, trace in self.api.import_errors().items():
                file = self._dags_folder / name
                if file.is_file() and dag_id in file.read_text():
                    raise PhaseFailed(f"{name} could not be imported:\n{trace}", self.log)
            return False

        self._child.wait_for(parsed, seconds=seconds, what=f"DAG {dag_id}")

    def check(self) -> None:
        """
        Make sure that it still runs.

        :raises PhaseFailed: It does not.
        """
        self._child.check()

    def processes_of(self, component: str) -> list[psutil.Process]:
        """
        Return the processes of one part, parents first.

        :param component: ``scheduler``, ``dag-processor``, ``api-server``, ``triggerer``, ``executor`` for what
            starts tasks, or ``task`` for the tasks that run.
        """
        everything = [psutil.Process(each.pid) for each in self._more if each.alive]
        everything += [process for each in (self._child, *self._more) for process in each.descendants()]
        return [process for process in everything if _component_of(process) == component]

    def pid_of(self, component: str) -> int:
        """
        Return the id of the topmost process of one part, to kill it for instance.

        :param component: As of :meth:`processes_of`.
        :raises LookupError: There is none.
        """
        found = self.processes_of(component)
        if not found:
            raise LookupError(f"no process of {component}")
        return found[0].pid

    def kill(self, component: str) -> None:
        """
        Kill all processes of one part without a warning, as a crash of its machine would.

        :param component: As of :meth:`processes_of`.
        :raises LookupError: There is none.
        """
        found = self.processes_of(component)
        if not found:
            raise LookupError(f"no process of {component}")
        # The log server that the part started stays behind otherwise.
        family = {each for process in found for each in (process, *process.children(recursive=True))}
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._child.wait_for(lambda: not any(map(_runs, family)), seconds=10, what=f"end of {component}")

    def start_component(self, component: str) -> Child:
        """
        Start one more process of a part, say after the first was killed: standalone restarts none.

        :param component: The subcommand of ``airflow``.
        :return: The process; stopped together with the rest.
        """
        # A second one of a kind needs a log server port of its own, in case the first is still there.
        ports = [str(port) for port in free_ports(2)]
        names = ("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT")
        env = {**self._env, **dict(zip(names, ports, strict=True))}
        log = self.folder / f"{component}-{len(self._more) + 2}.log"
        child = Child(f"Airflow {component}", [_airflow(), component], log=log, env=env, cwd=self.folder)
        child.start()
        self._more.append(child)
        return child

    def stop(self) -> None:
        """Stop it, and every part that was started by hand."""
        for child in self._more:
            child.stop(grace=10)
        self._child.stop(grace=20)

    def __enter__(self) -> Standalone:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _airflow() -> Path:
    return Path(sys.prefix) / "bin" / "airflow"


def _environ(folder: Path, dags_folder: Path, url: str, log_ports: list[int]) -> dict[str, str]:
    env = {name: value for name, value in clean_environ(Path(sys.prefix)).items() if not name.startswith("AIRFLOW_")}
    host, port = url.removeprefix("http://").split(":")
    # What a proxy serves is elsewhere; the parts talk to each other on loopback.
    env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [env.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    env["AIRFLOW_HOME"] = str(folder)
    env["PYTHONUNBUFFERED"] = "1"
    settings = {
        "API__BASE_URL": url,
        "API__HOST": host,
        "API__PORT": port,
        "API__SECRET_KEY": secrets.token_hex(32),
        # 3.0 restarts its four workers for ever on a machine with few cores.
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__DAGS_FOLDER": str(dags_folder),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": "",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "4",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "CORE__TEST_CONNECTION": "Enabled",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        # Ports 8793 and 8794 may belong to another Airflow. These two servers know no host setting; they serve
        # nothing without a signed token.
        "LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        # With the default of 5 s the scheduler can fail a task that resumes within 5 s of deferring.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    env.update({f"AIRFLOW__{name}": value for name, value in settings.items()})
    return env


def _runs(process: psutil.Process) -> bool:
    """Standalone does not ask after its children: one that was killed stays in the table as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _component_of(process: psutil.Process) -> str | None:
    """Read it from the command line (``airflow scheduler``), or from the title that Airflow gives a process."""
    try:
        words = " ".join(process.cmdline()).split()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    names = [Path(word).name for word in words]
    if "airflow" not in names[:-1]:
        return None
    rest = words[names.index("airflow") + 1 :]
    if rest[0] == "worker":
        # "airflow worker -- LocalExecutor: <idle>" hands out the work, "airflow worker -- <id>" is a task that runs.
        return "executor" if "LocalExecutor:" in rest else "task"
    return rest[0].replace("_", "-")
