"""A real ``airflow standalone`` in a folder of its own, on ports of its own."""

from __future__ import annotations

import base64
import contextlib
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
from dev.processes import Child, Stoppable, cpu_seconds, free_ports
from dev.steps import StepFailedError
from dev.waiting import DEFAULT_TIMEOUT, WaitTimeoutError, wait_until

T = TypeVar("T")
Tasks = dict[str, dict[str, Any]]

USERNAME = "admin"
#: Subcommand of ``airflow``, with which its lines in the log begin, to the part's name.
PARTS = {
    "api-server": "API server",
    "scheduler": "scheduler",
    "dag-processor": "DAG processor",
    "triggerer": "triggerer",
}
#: States in which a DAG run stays.
TERMINAL_STATES = frozenset({"success", "failed"})


class Standalone(Stoppable):
    """
    A running Airflow: database, API server, scheduler, DAG processor and triggerer.

    :param folder: For everything it writes; its ``AIRFLOW_HOME``.
    :param dags_folder: The DAG files.
    :param connections: Connection id to its fields, as of Airflow's JSON form; they travel in the environment only.
    :param settings: More environment variables (``AIRFLOW__SECTION__OPTION``), stronger than those set here.
    :param timeout: Seconds that a wait may last although everything lives and moves.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dags_folder: Path,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.folder = folder.resolve()
        self._dags_folder = dags_folder.resolve()
        port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.api = AirflowApi(self.url)
        env = _environ(self.folder, self._dags_folder, self.url, log_ports)
        env.update({f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in (connections or {}).items()})
        env.update(settings or {})
        self.log = self.folder / "standalone.log"
        self._env = env
        self._timeout = timeout
        self._child = self._component("standalone", self.log, env)
        #: The processes that were started by hand, with their parts.
        self._more: list[tuple[str, Child]] = []
        #: The parts that have been seen to run, and should.
        self._running: set[str] = set()

    def _component(self, name: str, log: Path, env: Mapping[str, str]) -> Child:
        command = [Path(sys.prefix) / "bin" / "airflow", name]
        return Child(f"airflow {name}", command, log=log, env=env, cwd=self.folder, timeout=self._timeout)

    @property
    def pid(self) -> int:
        """The id of the parent process."""
        return self._child.pid

    @property
    def password(self) -> str:
        """Airflow's own random password for :data:`USERNAME`."""
        file = self.folder / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(file.read_text().splitlines()[0])[USERNAME])

    def start(self) -> None:
        """
        Start it, and wait until every part is healthy.

        :raises StepFailedError: A part ended, or does not become healthy.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._child.start()
        try:
            self.wait_for(lambda: not self._unhealthy(self._health()), "healthy parts")
            # The execution API is set up at its first request: six seconds that the first task would pay.
            self.wait_for(lambda: self.api.try_get("/execution/health"), "execution API")
            self.api.login(USERNAME, self.password)
        except BaseException:
            self.stop()
            raise

    def _health(self) -> Any:
        return self.api.try_get("/monitor/health")

    def _unhealthy(self, health: Any) -> list[str]:
        """Return the parts that are not healthy; of a part without a process, the name in Airflow's document."""
        if health is None:
            return ["api-server"]
        names = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return [name.replace("_", "-") for name in names if (health.get(name) or {}).get("status") != "healthy"]

    def check(self) -> None:
        """
        Make sure that every part still runs.

        :raises StepFailedError: One does not.
        """
        self._child.check()
        found = {part for part in PARTS if self.processes_of(part)}
        for part in self._running - found:
            # Twice, for a process changes its title while it starts.
            if not self.processes_of(part):
                raise self._failure(part, f"Airflow's {PARTS[part]} has ended.")
        self._running |= found

    def _failure(self, part: str, message: str) -> StepFailedError:
        logs = [child.log for name, child in self._more if name == part]
        if logs:
            return StepFailedError(message, logs[-1])
        return StepFailedError(message, self.log, part=part if part in PARTS else "")

    def evidence(self) -> object:
        """
        Return what changes while there is progress: of the parts that are not healthy, else the heartbeats of all.

        :raises StepFailedError: A part has ended.
        """
        self.check()
        health = self._health()
        unhealthy = self._unhealthy(health)
        if health is None or "metadatabase" in unhealthy:
            return health, self._child.evidence()
        lines = self._child.log_text().splitlines() if unhealthy else []
        moved = [
            (sum(line.startswith(part) for line in lines), cpu_seconds(self.processes_of(part))) for part in unhealthy
        ]
        return moved or health

    def wait_for(self, condition: Callable[[], T | None], what: str, *, timeout: float | None = None) -> T:
        """
        Wait until a condition gives something true, while every part lives and moves.

        :param condition: Checked again and again; that Airflow does not respond to it counts as not yet.
        :param what: What is waited for, for the message.
        :param timeout: Seconds for the whole, where others than those of this Airflow.
        :return: What the condition gave.
        :raises StepFailedError: A part ended, or there is no sign of progress; it names the part that is not healthy.
        """
        try:
            return wait_until(lambda: _attempt(condition), evidence=self.evidence, timeout=timeout or self._timeout)
        except WaitTimeoutError as error:
            unhealthy = self._unhealthy(self._health())
            if not unhealthy:
                raise StepFailedError(f"no {what}: {error}.", self.log) from error
            names = " and ".join(PARTS.get(part, "metadata database") for part in unhealthy)
            raise self._failure(unhealthy[0], f"no {what}: {error}; not healthy: Airflow's {names}.") from error

    def wait_for_dag(self, dag_id: str) -> None:
        """
        Wait until a DAG has been parsed.

        :raises StepFailedError: It does not come, or its file could not be imported.
        """

        def parsed() -> bool:
            if self.api.try_get(f"/dags/{dag_id}/details") is not None:
                return True
            for name, trace in self.api.import_errors().items():
                file = self._dags_folder / name
                if file.is_file() and dag_id in file.read_text():
                    raise StepFailedError(f"{name} could not be imported:\n{trace}")
            return False

        self.wait_for(parsed, f"DAG {dag_id}")

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        on_poll: Callable[[str, Tasks], object] = lambda state, tasks: None,
        timeout: float | None = None,
    ) -> str:
        """
        Wait until a DAG run has ended.

        :param dag_id: The DAG.
        :param run_id: The DAG run.
        :param on_poll: Called at each poll with the run's state and its task instances; may raise.
        :param timeout: As of :meth:`wait_for`.
        :return: The run's terminal state.
        :raises StepFailedError: As of :meth:`wait_for`.
        """
        states: dict[str, str] = {}

        def terminal() -> str | None:
            state = self.api.run_state(dag_id, run_id)
            tasks = self.api.task_instances(dag_id, run_id)
            states.update({name: task["state"] for name, task in tasks.items()})
            on_poll(state, tasks)
            return state if state in TERMINAL_STATES else None

        try:
            return self.wait_for(terminal, f"end of DAG run {run_id}", timeout=timeout)
        except StepFailedError as failed:
            failed.add_note(f"The states of its tasks: {states}.")
            raise

    def processes_of(self, component: str) -> list[psutil.Process]:
        """
        Return the processes of one part, parents first.

        :param component: One of :data:`PARTS`, ``executor`` for what starts tasks, or ``task`` for the tasks that run.
        """
        children = [self._child, *(child for _, child in self._more)]
        return [process for child in children for process in child.family() if _component_of(process) == component]

    def kill(self, component: str) -> None:
        """
        Kill all processes of one part without a warning, as a crash of its machine would.

        :param component: As of :meth:`processes_of`.
        :raises LookupError: There is none.
        """
        found = self.processes_of(component)
        if not found:
            raise LookupError(f"no process of {component}")
        self._running.discard(component)
        # The log server that the part started stays behind otherwise.
        family = {each for process in found for each in (process, *process.children(recursive=True))}
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._child.wait_for(lambda: not any(map(_runs, family)), f"end of the killed {component}")

    def start_component(self, component: str) -> Child:
        """
        Start one more process of a part, say after the first was killed: standalone restarts none.

        :param component: The subcommand of ``airflow``.
        :return: The process; stopped together with the rest.
        """
        # A second one of a kind needs a log server port of its own, in case the first is still there.
        ports = [str(port) for port in free_ports(2)]
        names = ("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT")
        log = self.folder / f"{component}-{len(self._more) + 2}.log"
        child = self._component(component, log, {**self._env, **dict(zip(names, ports, strict=True))})
        child.start()
        self._more.append((component, child))
        return child

    def stop(self) -> None:
        """Stop it, and every part that was started by hand."""
        for _, child in self._more:
            child.stop()
        self._child.stop()


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
    """Standalone does not wait for its children: one that was killed stays in the table as a zombie."""
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
