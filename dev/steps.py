"""What is being done, how long it took, and what failed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: Wide enough for the longest title that the commands print.
TITLE_WIDTH = 34
_LINE_WIDTH = 240
#: Seconds between SIGTERM and SIGKILL for an installer that is interrupted.
_GRACE = 5.0


class StepFailedError(Exception):
    """
    A step could not be finished.

    :param message: What went wrong, in one sentence.
    :param log: The file whose last lines say more, where there is one.
    :param part: Only the lines of this part of Airflow, with whose name they begin.
    """

    #: The title of the step that failed; filled in by :func:`step`.
    title: str = ""

    def __init__(self, message: str, log: Path | None = None, *, part: str = "") -> None:
        super().__init__(message)
        self._log = log
        self._part = part

    def __str__(self) -> str:
        lines = [super().__str__(), *getattr(self, "__notes__", ())]
        if self._log is not None and (end := tail(self._log, self._part)):
            lines += [f"The last lines of the {self._part or 'log'} in {self._log}:", *end]
        elif self._log is not None and (end := tail(self._log)):
            lines += [f"The {self._part} has logged nothing; the last lines of {self._log}:", *end]
        return "\n".join(lines)

    def report(self) -> str:
        """Return what to print: the step, what went wrong, and the end of the log."""
        return f"FAILED: {self.title or 'setting up'}: {self}"


@contextmanager
def step(title: str, *, live: bool = False) -> Iterator[None]:
    """
    Print the title, and the seconds once the block is done.

    :param title: What the block does, in a few words.
    :param live: The block shows a progress line of its own: print nothing before its end.
    :raises StepFailedError: The one that the block raised, with the title added.
    """
    started = time.monotonic()
    line = f"  {title} ".ljust(TITLE_WIDTH, ".") + " "
    if not live:
        print(line, end="", flush=True)
        line = ""
    try:
        yield
    except StepFailedError as failed:
        print(f"{line}failed", flush=True)
        failed.title = failed.title or title
        raise
    except BaseException:
        print(f"{line}stopped", flush=True)
        raise
    print(f"{line}{time.monotonic() - started:5.1f} s", flush=True)


def tail(log: Path, part: str = "", *, count: int = 15) -> list[str]:
    """Return the last lines of a log that begin with the part, cut to what fits on a screen."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [f"  {line[:_LINE_WIDTH]}" for line in lines if line.startswith(part)][-count:]


def run_logged(command: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path | None = None) -> None:
    """
    Run a command to its end, with its output in a log; an interrupt ends it with all that it started.

    :param command: The program and its arguments.
    :param log: Where the output goes; appended to, so that it holds every command of a step.
    :param env: The environment of the command.
    :param cwd: Its folder.
    :raises StepFailedError: It could not be started, or did not exit with 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        print("$", *command, file=output, flush=True)
        process = start_session(command, log=output, env=env, cwd=cwd)
        try:
            code = process.wait()
        except BaseException:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)
            raise
    if code != 0:
        raise StepFailedError(f"{Path(command[0]).name} exited with {code}.", log)


def start_session(
    command: Sequence[str | Path], *, log: IO[str], env: Mapping[str, str], cwd: Path | None
) -> subprocess.Popen[bytes]:
    """
    Start a command in a session of its own, where a Ctrl-C at the terminal does not reach it.

    :raises StepFailedError: It could not be started.
    """
    files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    try:
        return subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, **files)
    except OSError as error:
        raise StepFailedError(f"{command[0]} could not be started: {error.strerror}.") from error
