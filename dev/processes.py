"""Child processes: started in a session of their own with a log, waited for, and stopped with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

from dev.phases import PhaseFailed, tail

T = TypeVar("T")

#: Seconds between two looks at a condition; the end of the process interrupts the pause.
_LOOK_EVERY = 0.1


class Child:
    """
    A program that runs beside this one.

    :param name: What to call it in messages.
    :param command: The program and its arguments.
    :param log: The file for its output; begun anew at each start.
    :param env: Its whole environment; that of this process where not given.
    :param cwd: Its folder.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self._env = env
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process, and of the session and the process group that it leads."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """
        Start it.

        :raises PhaseFailed: There is no such program.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as output:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise PhaseFailed(f"{self.name} could not be started: {error}", self.log) from error

    def log_text(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
        """
        Wait until a condition gives something.

        :param condition: Asked again and again; anything but None and False ends the wait.
        :param seconds: How long to wait at most.
        :param what: What is waited for, for the message.
        :return: What the condition gave.
        :raises PhaseFailed: The process ended first, or the time was up.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found is not None and found is not False:
                return found
            if time.monotonic() >= deadline:
                raise PhaseFailed(f"{self.name}: no {what} within {seconds:.0f} s:\n{tail(self.log)}", self.log)
            self.check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._process is not None:
                    self._process.wait(_LOOK_EVERY)

    def check(self) -> None:
        """
        Make sure that it still runs.

        :raises PhaseFailed: It does not; with the end of its log.
        """
        if not self.alive:
            code = None if self._process is None else self._process.returncode
            raise PhaseFailed(f"{self.name} ended with exit code {code}:\n{tail(self.log)}", self.log)

    def descendants(self) -> list[psutil.Process]:
        """Return the processes that it started, and those that they started."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stop(self, *, grace: float = 20.0) -> None:
        """
        Stop it and everything that it started; do nothing where it has ended already.

        SIGINT goes to the process alone, which then stops its own children in its own order. What is left after the
        grace, children in other process groups included, is sent SIGTERM, then SIGKILL.

        :param grace: Seconds that it may take by itself.
        """
        if self._process is None:
            return
        family = self.descendants()
        if self.alive:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        _end(family, group=self._process.pid)
        self._process.wait()

    def __enter__(self) -> Child:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _end(family: Iterable[psutil.Process], *, group: int) -> None:
    """Send SIGTERM, then SIGKILL, to what is left of a process group and of a family that may have left the group."""
    # psutil compares the time of creation as well, so an id that another process got meanwhile is left alone.
    left = [process for process in family if process.is_running()]
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, left = psutil.wait_procs(left, timeout=patience if left else 0)
        if not left and not _group_exists(group):
            return


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def listening_addresses(pid: int) -> set[str]:
    """
    Return the addresses that a process accepts connections on.

    :param pid: The process.
    """
    connections = psutil.Process(pid).net_connections(kind="tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def free_ports(count: int) -> list[int]:
    """
    Return ports that nobody listens on, all different.

    :param count: How many.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            # Every interface: some of the programs that get a port do not stay on loopback.
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
