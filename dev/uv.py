"""The pinned uv, fetched once with plain pip; it installs everything else."""

from __future__ import annotations

import shutil
from pathlib import Path

from dev.phases import run_logged
from dev.places import CACHE, REQUIREMENTS, base_python, clean_environ, digest

_LOCK = REQUIREMENTS / "uv.txt"


def bootstrap(log: Path) -> Path:
    """
    Return the small virtual environment that holds uv and pip, made now where it is missing.

    :param log: Where the output of pip goes.
    :raises PhaseFailed: The venv could not be made (on Debian: ``python3-venv`` is missing), or pip could not fetch uv.
    """
    folder = CACHE / f"uv-{digest(_LOCK)}"
    ready = folder / "ready"
    if ready.exists() and (folder / "bin" / "python").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    env = clean_environ()
    run_logged([base_python(), "-m", "venv", folder], log=log, env=env)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
    run_logged([*pip, "--require-hashes", "--only-binary", ":all:", "-r", _LOCK], log=log, env=env)
    ready.touch()
    return folder


def uv_environ() -> dict[str, str]:
    """
    Return the environment for uv.

    The caller's own UV_ settings (an index, a cache folder) hold. Certificates come from the system, as those of pip
    do, and bytecode is compiled at once: without it each process of Airflow imports for five seconds instead of two.
    """
    env = clean_environ()
    env["UV_COMPILE_BYTECODE"] = "1"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env.setdefault("UV_SYSTEM_CERTS", "1")
    return env
