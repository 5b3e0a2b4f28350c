"""What all resources share: the clock, the lock, new ids, files on disk, and plans for jobs to come."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any

#: The kinds of jobs that a client can create over HTTP.
PLANNED_KINDS = ("runs", "responses", "batches", "file_batches", "log_exports")


@dataclass(kw_only=True)
class Store:
    """
    See the module.

    :param clock: returns the time, in seconds since the epoch.
    :param run_seconds: the duration of a run that is created over HTTP and has no plan, in seconds.
    :param run_steps: the number of steps of such a run.
    :param job_seconds: the duration of such a job of any other kind, in seconds.
    :param lock: held while anything here or in a resource is read or changed.
    """

    clock: Callable[[], float]
    run_seconds: float = 2.0
    run_steps: int = 2
    job_seconds: float = 2.0
    lock: threading.RLock = field(default_factory=threading.RLock)
    _id_counts: Counter[str] = field(default_factory=Counter)
    _plans: dict[str, list[repeat[dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    def new_id(self, prefix: str, taken: Container[str] = ()) -> str:
        """Return the next id of a kind that is not taken: ``run_000001``, ``run_000002`` ..."""
        while True:
            self._id_counts[prefix] += 1
            new_id = f"{prefix}_{self._id_counts[prefix]:06d}"
            if new_id not in taken:
                return new_id

    def plan(self, kind: str, *, times: int | None = 1, **parameters: Any) -> None:
        """
        Declare the scenario of jobs that a client will create over HTTP.

        :param kind: ``runs``, ``responses``, ``batches``, ``file_batches`` or ``log_exports``.
        :param times: the number of jobs; ``None`` for all that follow.
        :param parameters: those of the ``add`` method of that kind.
        :raises ValueError: for any other kind.
        """
        if kind not in PLANNED_KINDS:
            raise ValueError(f"kind has to be one of {', '.join(PLANNED_KINDS)}, not {kind!r}")
        with self.lock:
            self._plans[kind].append(repeat(parameters) if times is None else repeat(parameters, times))

    def take_plan(self, kind: str) -> dict[str, Any]:
        """Return the planned parameters of a job that is being created; empty without a plan."""
        return dict(next(chain.from_iterable(self._plans[kind]), {}))

    def write_file(self, lines: Iterable[bytes]) -> Path:
        """
        Write a file that exists until :meth:`close`.

        :param lines: the content, in chunks of any size.
        """
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            file.writelines(lines)
        return Path(file.name)

    def close(self) -> None:
        """Delete the files."""
        if "_folder" in self.__dict__:
            self.__dict__.pop("_folder").cleanup()

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="portkey-mock-server-", ignore_cleanup_errors=True)
