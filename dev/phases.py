"""What is being done, how long it took, and where to look when it failed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Wide enough for the longest title that the commands print.
TITLE_WIDTH = 34


class PhaseFailed(Exception):
    """
    A phase could not be finished.

    :param message: What went wrong, in one sentence.
    :param log: The file that tells more, where there is one.
    """

    #: The title of the phase that failed; filled in by :func:`phase`.
    title: str = ""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def report(self) -> str:
        """Return what to print: the phase, what went wrong, and the log."""
        lines = [f"FAILED: {self.title or 'setting up'}: {self}"]
        if self.log is not None:
            lines.append(f"Its log: {self.log}")
        return "\n".join(lines)


@contextmanager
def phase(title: str, *, live: bool = False) -> Iterator[None]:
    """
    Print the title, and the seconds once the block is done.

    :param title: What the block does, in a few words.
    :param live: The block shows a progress line of its own: print nothing before its end.
    :raises PhaseFailed: The one that the block raised, with the title added.
    """
    started = time.monotonic()
    line = f"  {title} ".ljust(TITLE_WIDTH, ".") + " "
    if not live:
        print(line, end="", flush=True)
        line = ""
    try:
        yield
    except PhaseFailed as failed:
        print(f"{line}failed", flush=True)
        failed.title = failed.title or title
        raise
    except BaseException:
        print(f"{line}stopped", flush=True)
        raise
    print(f"{line}{time.monotonic() - started:5.1f} s", flush=True)


def tail(log: Path, lines: int = 15) -> str:
    """
    Return the end of a log.

    :param log: The file; may be missing.
    :param lines: How many lines at most.
    """
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def run_logged(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """
    Run a command to its end, with its output in a log.

    :param command: The program and its arguments.
    :param log: Where the output goes; added to, never emptied, so that a fallback keeps what came before.
    :param env: The environment of the command; that of this process where not given.
    :param cwd: Its folder.
    :raises PhaseFailed: It could not be started, or did not exit with 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        output.write(f"$ {' '.join(str(part) for part in command)}\n")
        output.flush()
        try:
            code = subprocess.call(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
            )
        except OSError as error:
            raise PhaseFailed(f"{command[0]} could not be started: {error}", log) from error
    if code != 0:
        raise PhaseFailed(f"{Path(command[0]).name} exited with {code}:\n{tail(log)}", log)
