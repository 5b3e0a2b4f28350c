"""
The virtual environments: one for each lock, made from it and kept until it changes.

Standard library only: this runs on the Python that the caller happens to have.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import uv
from dev.phases import PhaseFailed, phase, run_logged
from dev.places import LOGS, REQUIREMENTS, ROOT, base_python, clean_environ, digest

#: The lines of Airflow that there is a lock for; the last one is what the demo and a plain ``test`` use.
AIRFLOW_LINES = ("2.11", "3.0", "3.1", "3.2", "3.3")
CURRENT_LINE = AIRFLOW_LINES[-1]
#: Carries the seconds that the environment took across the change of interpreter.
SECONDS_VARIABLE = "DEV_ENVIRONMENT_SECONDS"

_PROJECT = ROOT / "pyproject.toml"


@dataclass(frozen=True)
class Environment:
    """
    A virtual environment and the lock that it is made from.

    :param lock: The file with every version and hash.
    :param folder: Where the environment lies.
    """

    lock: Path
    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        """Where the output of the installers goes."""
        return LOGS / f"environment-{self.lock.stem}.log"

    @property
    def _stamp(self) -> Path:
        return self.folder / "dev-environment.json"

    def _wanted(self) -> dict[str, str]:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {"python": python, "lock": digest(self.lock), "project": digest(_PROJECT), "root": str(ROOT)}

    def _stamped(self) -> dict[str, str]:
        try:
            stamp = json.loads(self._stamp.read_text())
        except (OSError, ValueError):
            return {}
        return stamp if self.python.exists() else {}

    def is_active(self) -> bool:
        """Tell whether this process already runs in the environment, and it is up to date."""
        return Path(sys.prefix) == self.folder and self._stamped() == self._wanted()

    def prepare(self) -> None:
        """
        Make the environment, or the part of it that is out of date, or nothing.

        :raises PhaseFailed: A step failed; it carries the log.
        """
        with _alone(self.folder):
            stamped, wanted = self._stamped(), self._wanted()
            if stamped == wanted:
                return
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text("")
            with phase("uv, with pip"):
                installer = uv.bootstrap(self.log)
            self._stamp.unlink(missing_ok=True)
            if {**stamped, "project": ""} != {**wanted, "project": ""}:
                with phase(f"packages of {self.lock.name}"):
                    self._install_packages(installer)
            with phase("this project, editable"):
                self._install(installer, ["--no-deps", "--no-build-isolation", "--editable", ROOT])
            self._stamp.write_text(json.dumps(wanted))

    def _install_packages(self, installer: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        options = ["--without-pip", "--prompt", ROOT.name, str(self.folder)]
        run_logged([base_python(), "-m", "venv", *options], log=self.log, env=clean_environ())
        self._install(installer, ["--require-hashes", "-r", self.lock])

    def _install(self, installer: Path, what: Sequence[str | Path]) -> None:
        # uv does not read pip's settings: where only those name a mirror, pip does the same in ten times the time.
        with_uv = [installer / "bin" / "uv", "pip", "install", "--python", self.python, *what]
        with_pip = [installer / "bin" / "python", "-m", "pip", "--python", self.python, "install", *what]
        try:
            run_logged(with_uv, log=self.log, env=uv.uv_environ())
        except PhaseFailed:
            print("(uv could not, now with pip)", end=" ", flush=True)
            # The interpreter's bin comes first, for the build backend that an editable install runs.
            run_logged(with_pip, log=self.log, env=clean_environ(self.folder))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold back a second command that would make the same environment at the same time."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS.parent / f"{folder.name.lstrip('.')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def for_demo() -> Environment:
    """Return the demo's environment: Airflow and the provider, nothing for tests."""
    return Environment(REQUIREMENTS / f"airflow-{CURRENT_LINE}.txt", ROOT / ".venv-demo")


def for_tests(line: str = CURRENT_LINE) -> Environment:
    """
    Return the environment for tests.

    :param line: One of :data:`AIRFLOW_LINES`.
    """
    folder = ".venv" if line == CURRENT_LINE else f".venv-{line}"
    return Environment(REQUIREMENTS / f"test-{line}.txt", ROOT / folder)


def enter(environment: Environment, arguments: Sequence[str]) -> None:
    """
    Go on in the environment: return where this process is in it, else make it and run the command again there.

    :param environment: The one to be in.
    :param arguments: Of ``python3 -m dev``.
    :raises PhaseFailed: The environment could not be made.
    """
    if environment.is_active():
        return
    started = time.monotonic()
    print(f"Environment {environment.folder.name}", flush=True)
    environment.prepare()
    env = clean_environ(environment.folder)
    env[SECONDS_VARIABLE] = f"{time.monotonic() - started:.1f}"
    if Path(sys.prefix) == environment.folder and environment.is_active():
        os.environ.update(env)
        return
    os.chdir(ROOT)
    sys.stdout.flush()
    python = str(environment.python)
    os.execve(python, [python, "-m", "dev", *arguments], env)
