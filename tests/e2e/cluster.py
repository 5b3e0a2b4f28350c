"""An Airflow out of single processes: PostgreSQL, Celery over Redis, workers and triggerers that can be killed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dev.processes import Child, cpu_seconds
from dev.standalone import AIRFLOW, Standalone
from dev.steps import StepFailedError, run_logged

#: What each process runs; several of a kind are ``worker-1``, ``worker-2``.
_COMMANDS = {
    "scheduler": ["scheduler"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "worker": ["celery", "worker", "--skip-serve-logs", "--without-mingle", "--celery-hostname"],
}


class Cluster(Standalone):
    """
    An Airflow whose processes share nothing but PostgreSQL, Redis and the folder of the task logs.

    :param folder: ``AIRFLOW_HOME`` of all processes.
    :param postgresql: Address of an empty database: ``user@host:port/name``.
    :param redis: URL of the broker.
    :param settings: As of :class:`Standalone`.
    :param options: Further parameters of :class:`Standalone`.
    """

    command = "api-server"

    def __init__(
        self, folder: Path, *, postgresql: str, redis: str, settings: Mapping[str, str], **options: Any
    ) -> None:
        cluster = {
            "AIRFLOW__CELERY__BROKER_URL": redis,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{postgresql}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "6",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{postgresql}",
            # Celery's workers refuse root otherwise.
            "C_FORCE_ROOT": "1",
        }
        super().__init__(folder, settings=cluster | dict(settings), **options)
        self._parts: dict[str, Child] = {}

    def start(self) -> None:
        """Start one process of each kind, and wait until all are healthy."""
        run_logged([AIRFLOW, "db", "migrate"], log=self.folder / "migrate.log", env=self.env, cwd=self.folder)
        for name in ("scheduler", "dag-processor", "triggerer-1", "worker-1"):
            self.start_part(name)
        super().start()
        self.wait_for_part("worker-1")

    def start_part(self, name: str) -> None:
        """Start a process: a key of the commands above, with ``-`` and a number where there are several."""
        kind = name.rstrip("-0123456789")
        command = [AIRFLOW, *_COMMANDS[kind], *([f"{name}@localhost"] if kind == "worker" else [])]
        log = self.folder / f"{name}.log"
        part = Child(f"Airflow's {name}", command, log=log, env=self.env, cwd=self.folder, grace=self._grace)
        part.start()
        self._parts[name] = part

    def wait_for_part(self, name: str) -> None:
        """Wait until a worker takes tasks, or a triggerer triggers."""
        if name.startswith("worker"):
            self.wait_for(lambda: f"{name}@localhost ready" in self._parts[name].log_text(), f"ready {name}")
            return
        number = sum(part.startswith("triggerer") for part in self._parts)
        self.wait_for(
            lambda: len(self.api.get("/jobs", job_type="TriggererJob", is_alive=True)["jobs"]) >= number, name
        )

    def kill(self, name: str) -> None:
        """Kill a process and all that it started, as a crash of its machine would."""
        family = self._parts.pop(name).family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=self.timeout)

    def check(self) -> None:
        """Make sure that every process still runs, else raise ``StepFailedError``."""
        super(Standalone, self).check()
        for part in self._parts.values():
            part.check()

    def evidence(self) -> object:
        """Return what changes while there is progress: the CPU seconds of all processes, and Airflow's heartbeats."""
        self.check()
        parts = [self, *self._parts.values()]
        return self._health(), [cpu_seconds(part.family()) for part in parts]

    def part_error(self, part: str, message: str) -> StepFailedError:
        """Return an error with the log of a part, of the process that was started last."""
        logs = [child.log for name, child in self._parts.items() if name.startswith(part)]
        return StepFailedError(message, logs[-1] if logs else self.log)

    def stop(self) -> None:
        """Stop everything; what these processes would save is not needed."""
        for name in list(self._parts):
            self.kill(name)
        super().stop()
