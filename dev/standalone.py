"""A real ``airflow standalone`` in a folder of its own, on ports of its own."""

from __future__ import annotations

import base64
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

from dev.airflow_api import AirflowApi
from dev.paths import clean_environ
from dev.processes import Child, cpu_seconds, free_ports
from dev.steps import StepFailedError
from dev.waiting import DEFAULT_TIMEOUT

T = TypeVar("T")
Tasks = dict[str, dict[str, Any]]

USERNAME = "admin"
#: Subcommand of ``airflow``, with which its lines in the log begin, to the part's name.
PARTS = {
    "api-server": "API server",
    "scheduler": "scheduler",
    "dag-processor": "DAG processor",
    "triggerer": "triggerer",
    "metadatabase": "metadata database",
}
AIRFLOW = Path(sys.prefix) / "bin" / "airflow"
#: States in which a DAG run stays.
TERMINAL_STATES = frozenset({"success", "failed"})


class Standalone(Child):
    """
    A running Airflow: database, API server, scheduler, DAG processor and triggerer.

    :param folder: For everything it writes; its ``AIRFLOW_HOME``.
    :param dags_folder: The DAG files.
    :param connections: Connection id to its fields, as of Airflow's JSON form; they travel in the environment only.
    :param settings: More environment variables (``AIRFLOW__SECTION__OPTION``), stronger than those set here.
    :param timeout: Seconds that a wait may last although everything lives and moves.
    :param grace: Seconds that it may take to stop by itself.
    """

    # Each poll is work for the API server, which may have little time.
    poll_interval = 0.5
    #: The subcommand of ``airflow`` that this process is.
    command = "standalone"

    def __init__(
        self,
        folder: Path,
        *,
        dags_folder: Path,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        grace: float = 20.0,
    ) -> None:
        self.folder = folder.resolve()
        self._dags_folder = dags_folder.resolve()
        port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.api = AirflowApi(self.url)
        env = _environ(self.folder, self._dags_folder, self.url, log_ports)
        env |= {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in (connections or {}).items()}
        env |= settings or {}
        log = self.folder / f"{self.command}.log"
        super().__init__(
            "Airflow", [AIRFLOW, self.command], log=log, env=env, cwd=self.folder, timeout=timeout, grace=grace
        )
        #: The parts that have been seen to run, and should.
        self.expected: set[str] = set()

    @property
    def password(self) -> str:
        """Airflow's own random password for :data:`USERNAME`."""
        file = self.folder / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text().splitlines()[0])[USERNAME])

    def start(self) -> None:
        """Start it, and wait until every part is healthy."""
        super().start()
        try:
            self.wait_for(lambda: not self._unhealthy(self._health()), "complete start")
            # The execution API is set up at its first request: six seconds that the first task would pay.
            self.wait_for(lambda: self.api.try_get("/execution/health"), "execution API")
            self.api.login(USERNAME, self.password)
        except BaseException:
            self.stop()
            raise

    def _health(self) -> Any:
        return self.api.try_get("/monitor/health")

    def _unhealthy(self, health: Any) -> list[str]:
        """Return the parts that are not healthy, as named in :data:`PARTS`."""
        if health is None:
            return ["api-server"]
        status = {part: (health.get(part.replace("-", "_")) or {}).get("status") for part in PARTS}
        return [part for part in PARTS if part != "api-server" and status[part] != "healthy"]

    def check(self) -> None:
        """Make sure that every part still runs, else raise ``StepFailedError``."""
        super().check()
        found = {part for part in PARTS if self.processes_of(part)}
        for part in self.expected - found:
            # Twice, for a process changes its title while it starts.
            if not self.processes_of(part):
                raise self.part_error(part, f"Airflow's {PARTS[part]} has ended.")
        self.expected |= found

    def evidence(self) -> object:
        """Return what changes while there is progress: of the parts that are not healthy, else all heartbeats."""
        health = self._health()
        unhealthy = self._unhealthy(health)
        if "metadatabase" in unhealthy or health is None:
            return health, super().evidence()
        self.check()
        lines = self.log_text().splitlines() if unhealthy else []
        sizes = [sum(line.startswith(part) for line in lines) for part in unhealthy]
        return health if not unhealthy else (sizes, [cpu_seconds(self.processes_of(part)) for part in unhealthy])

    def wait_for(self, condition: Callable[[], T | None], what: str, *, timeout: float | None = None) -> T:
        """As of any child; that Airflow does not respond to the condition counts as not yet."""
        return super().wait_for(lambda: _attempt(condition), what, timeout=timeout)

    def unhealthy_error(self, message: str) -> StepFailedError:
        """Return the error for a wait that has failed: it names the parts that are not healthy."""
        unhealthy = self._unhealthy(self._health())
        if not unhealthy:
            return StepFailedError(f"{message}, though every part of Airflow is healthy.", self.log)
        names = " and ".join(PARTS[part] for part in unhealthy)
        verb = "are" if len(unhealthy) > 1 else "is"
        return self.part_error(unhealthy[0], f"Airflow's {names} {verb} not healthy: {message}.")

    def part_error(self, part: str, message: str) -> StepFailedError:
        """Return an error with the log of a part."""
        return StepFailedError(message, self.log, part=part)

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until a DAG has been parsed; an error in its file ends the wait."""

        def parsed() -> bool:
            if self.api.try_get(f"/dags/{dag_id}/details") is not None:
                return True
            for error in self.api.get("/importErrors")["import_errors"]:
                file = self._dags_folder / error["filename"]
                if file.is_file() and dag_id in file.read_text():
                    raise StepFailedError(f"{file.name} could not be imported:\n{error['stack_trace']}")
            return False

        self.wait_for(parsed, f"DAG {dag_id}")

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        on_poll: Callable[[str, Tasks], object] | None = None,
        timeout: float | None = None,
    ) -> str:
        """
        Wait until a DAG run has ended.

        :param dag_id: The DAG.
        :param run_id: The DAG run.
        :param on_poll: Called at each poll with the run's state and its task instances; may raise.
        :param timeout: As of :meth:`wait_for`.
        :return: The run's terminal state.
        """

        def terminal() -> str | None:
            state = str(self.api.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if on_poll:
                on_poll(state, self.api.task_instances(dag_id, run_id))
            return state if state in TERMINAL_STATES else None

        try:
            return self.wait_for(terminal, f"end of DAG run {run_id}", timeout=timeout)
        except StepFailedError as failed:
            tasks = _attempt(lambda: self.api.task_instances(dag_id, run_id)) or {}
            failed.add_note(f"The states of its tasks: { {name: task['state'] for name, task in tasks.items()} }.")
            raise

    def processes_of(self, component: str) -> list[psutil.Process]:
        """
        Return the processes of one part, parents first.

        :param component: One of :data:`PARTS`, ``executor`` for what starts tasks, or ``task`` for the tasks that run.
        """
        return [process for process in self.family() if component_of(process) == component]


def _attempt(condition: Callable[[], T | None]) -> T | None:
    try:
        return condition()
    except requests.HTTPError as error:
        if error.response.status_code < 500:
            raise
    except (requests.ConnectionError, requests.Timeout):
        pass
    return None


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
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "4",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "CORE__TEST_CONNECTION": "Enabled",
        # The files do not change: to parse them every 30 s, as by default, costs a tenth of a core.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "86400",
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


def component_of(process: psutil.Process) -> str | None:
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
