"""The sessions of nox; ``python3 -m dev`` runs them on a machine that has only Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from dev import environments  # noqa: E402
from dev.environments import AIRFLOW_VERSIONS, CURRENT_VERSION, NPM, Environment  # noqa: E402
from dev.paths import NODE_PROJECT, PRISM_PROJECT, REQUIREMENTS  # noqa: E402
from dev.pytest_arguments import pytest_arguments  # noqa: E402

nox.options.default_venv_backend = "uv"
nox.options.envdir = str(environments.FOLDER)
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [f"test({CURRENT_VERSION})"]

_COMPILE = ("--universal", "--generate-hashes", "--no-header", "--no-annotate", "-q")
#: The oldest Python decides what is chosen for all; the later ones get their own line only where they must.
#: 3.0.6 and 3.2.2 install with the newest packages and then break (fastapi, cadwyn): they are resolved as of a day
#: shortly after their release. Only common-compat, which smooths the differences between the versions, is the newest.
_NEWEST = ("--exclude-newer-package", "apache-airflow-providers-common-compat=2026-11-20")
#: Name of a lock to the options that it needs; the demo's follows the versions of the tests.
_LOCKS: dict[str, tuple[str, ...]] = {
    "dev": ("--only-binary", ":all:"),
    # The requirements of the package itself count as direct ones.
    "test-lowest": ("../pyproject.toml", "--all-extras", "--resolution", "lowest-direct"),
    "test-2.11": (),
    "test-3.0": ("--exclude-newer", "2025-09-15", *_NEWEST),
    "test-3.1": (),
    "test-3.2": ("--exclude-newer", "2026-06-20", *_NEWEST),
    "test-3.3": (),
    "test-3.4": (),
    "airflow-3.3": (),
    "focus": ("--python-version", "3.12"),
    "bench": (),
}


@nox.session
@nox.parametrize("version", AIRFLOW_VERSIONS, ids=AIRFLOW_VERSIONS)
def test(session: nox.Session, version: str) -> None:
    """Run pytest on a version of Airflow, with the arguments of the session."""
    _install(session, environments.for_tests(version))
    session.run("python", "-m", "pytest", *pytest_arguments(session.posargs), interrupt_timeout=None)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the example DAG through a real gateway and a real Airflow."""
    _install(session, environments.for_demo())
    session.run("python", "-m", "dev", "demo", *session.posargs, interrupt_timeout=None)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the provider with other libraries, and write ``docs/performance.md``."""
    _install(session, environments.for_benchmarks())
    session.run("python", "-m", "benchmarks", *session.posargs, interrupt_timeout=None)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style, and which package imports which."""
    _run_tool(session, "ruff", "check", ".")
    _run_tool(session, "ruff", "format", "--check", ".")
    if "importlinter" in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]:
        _run_tool(session, "lint-imports")


@nox.session(venv_backend="none")
def typecheck(session: nox.Session) -> None:
    """Check types."""
    _run_tool(session, "mypy")
    _run_tool(session, "mypy", "noxfile.py")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation site with warnings as errors."""
    _run_tool(session, "python", "-m", "dev", "docs", "--build-only")


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Build the distribution, and check it as an upload would; an argument is the folder to keep it in."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(session.posargs[0]) if session.posargs else Path(temporary)
        for file in _build(session, folder):
            print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")


@nox.session
def smoke(session: nox.Session) -> None:
    """Install the wheel, and nothing else of this repository, beside Airflow, and use it as a new user would."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (wheel,) = (file for file in _build(session, folder) if file.suffix == ".whl")
        session.install("--require-hashes", "-r", str(environments.for_demo().lock))
        session.install("--no-deps", "--reinstall", str(wheel))
        shutil.copy(ROOT / "dev" / "smoke.py", folder)
        with session.chdir(folder):
            env = {"AIRFLOW_HOME": str(folder / "airflow"), "PYTHONPATH": None}
            session.run("python", "-I", "smoke.py", wheel.name.split("-")[1], env=env)


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Resolve ``requirements/*.in`` and the ``package.json`` of ``dev/`` again."""
    # A lock is for everyone: the settings of this machine's uv stay out of it.
    env = {name: None for name in os.environ if name.startswith(("UV_EXCLUDE", "UV_CONSTRAINT"))}
    with tempfile.TemporaryDirectory() as folder:
        for name, own in _LOCKS.items():
            options = own if "--python-version" in own else ("--python-version", "3.11", *own)
            made = Path(folder) / f"{name}.txt"
            with session.chdir(REQUIREMENTS):
                session.run("uv", "pip", "compile", f"{name}.in", *_COMPILE, *options, "-o", str(made), env=env)
            header = f"# Made from {name}.in by `python3 -m dev lock`; do not edit.\n"
            (REQUIREMENTS / made.name).write_text(header + made.read_text())
    for project in (NODE_PROJECT, PRISM_PROJECT):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(project / "package.json", folder)
            npm_options = ("--package-lock-only", "--omit-lockfile-registry-resolved")
            with session.chdir(folder):
                session.run(*NPM, "install", *npm_options, env=environments.node_environ())
            resolved = json.loads(Path(folder, "package-lock.json").read_text())
        for package in resolved["packages"].values():
            # Where a package was found and who pays for it: neither is needed to check its hash.
            package.pop("resolved", None)
            package.pop("funding", None)
        (project / "package-lock.json").write_text(json.dumps(resolved, indent=2) + "\n")


def _install(session: nox.Session, environment: Environment) -> None:
    """
    Install what the lock names and nothing else, and this project as a link to its files.

    The environment is emptied first: what an interrupted command left may hold half a package.
    """
    if environment.is_current():
        return
    session.run_install("uv", "venv", "--clear", "--python", sys.executable, str(environment.folder), silent=True)
    session.install("--require-hashes", "-r", str(environment.lock))
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")
    environment.mark_current()


def _build(session: nox.Session, folder: Path) -> list[Path]:
    """Build wheel and sdist; their files have the time of the last commit, so a second build has the same bytes."""
    env = {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or _time_of_commit()}
    _run_tool(session, "python", "-m", "build", "--no-isolation", "--outdir", str(folder), ".", silent=True, env=env)
    files = sorted(file for file in folder.iterdir() if file.name.endswith((".whl", ".tar.gz")))
    _run_tool(session, "twine", "check", "--strict", *map(str, files))
    return files


def _time_of_commit() -> str:
    """Return the seconds of the last commit; outside of git the constant that hatchling takes."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "1580601600"


def _run_tool(
    session: nox.Session, name: str, *arguments: str, silent: bool = False, env: dict[str, str] | None = None
) -> None:
    """Run a program of the main environment."""
    main = environments.for_tests()
    if not main.is_current():
        session.error(f"first: nox --install-only --session '{main.session}'")
    session.run(str(main.folder / "bin" / name), *arguments, silent=silent, env=env, external=True)
