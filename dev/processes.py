"""Child processes: started in a session of their own with a log, waited for, and stopped with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import psutil

from dev.steps import StepFailedError, start_session
from dev.waiting import DEFAULT_TIMEOUT, WaitTimeoutError, wait_until

T = TypeVar("T")


class Child:
    """
    A program that runs beside this one; a context manager that starts and stops it.

    :param name: What to call it in messages, with its article.
    :param command: The program and its arguments.
    :param log: The file for its output; begun anew at each start.
    :param env: Its whole environment.
    :param cwd: Its folder.
    :param timeout: Seconds that a wait for it may last although it lives and moves.
    :param grace: Seconds that it may take to stop by itself.
    """

    #: Seconds between two checks of a condition.
    poll_interval = 0.1

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float = DEFAULT_TIMEOUT,
        grace: float = 20.0,
    ) -> None:
        self.name = name
        self.log = log
        self.timeout = timeout
        self._command = [str(part) for part in command]
        self.env = env
        self._cwd = cwd
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            self._process = start_session(self._command, log=log, env=self.env, cwd=self._cwd)

    def log_text(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Make sure that it still runs, else raise ``StepFailedError``."""
        code = self._process.poll() if self._process is not None else 0
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            raise StepFailedError(f"{self.name} {how}.", self.log)

    def evidence(self) -> object:
        """Return what changes while it does something: the size of its log, and its CPU seconds."""
        self.check()
        return self.log.stat().st_size, cpu_seconds(self.family())

    def wait_for(self, condition: Callable[[], T | None], what: str, *, timeout: float | None = None) -> T:
        """
        Wait until a condition gives something true, while the process lives and moves.

        :param condition: Checked again and again.
        :param what: What is waited for, for the message.
        :param timeout: Seconds for the whole, where not those of this process.
        :return: What the condition gave.
        :raises StepFailedError: The process ended, or there is no sign of progress.
        """
        try:
            limit = timeout or self.timeout
            return wait_until(condition, evidence=self.evidence, timeout=limit, interval=self.poll_interval)
        except WaitTimeoutError as error:
            raise self.unhealthy_error(f"no {what}, and {error}") from error

    def unhealthy_error(self, message: str) -> StepFailedError:
        """Return the error for a wait that has failed, with the log that says why."""
        return StepFailedError(f"{self.name} is not healthy: {message}.", self.log)

    def family(self) -> list[psutil.Process]:
        """Return the process, those that it started, and those that they started."""
        if self._process is None or self._process.poll() is not None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        return []

    def stop(self) -> None:
        """
        Stop it and everything that it started; do nothing where it has ended already.

        SIGINT goes to the process alone, which then stops its own children in its own order. What is left after the
        grace, children in other process groups included, is sent SIGTERM, then SIGKILL.
        """
        if self._process is None:
            return
        # psutil compares the time of creation as well, so an id that another process got meanwhile is left alone.
        left = self.family()[1:]
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            _, left = psutil.wait_procs(left, timeout=min(5.0, self._grace))
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def cpu_seconds(processes: Iterable[psutil.Process]) -> int:
    """Return the whole seconds of CPU that processes have used."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            total += used.user + used.system
    return int(total)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            # Every interface: some of the programs that get a port do not stay on loopback.
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
