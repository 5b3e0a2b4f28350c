"""The official validator of FOCUS, in an environment of its own: it needs another Python and older libraries."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from dev.environments import TOOLS, install_tools, locked, nox_environ
from dev.paths import CACHE, LOGS, REQUIREMENTS, clean_environ, digest
from dev.pythons import find_python
from dev.steps import run_logged

#: The Python of the lock: the oldest that the validator runs on, and the newest that its numpy has wheels for.
PYTHON = "3.12"
#: The version of FOCUS; the package has its rules, and nothing is downloaded.
VERSION = "1.2"

_LOCK = REQUIREMENTS / "focus.txt"
_FOLDER = CACHE / f"focus-{digest(_LOCK)}"
_FAILED = re.compile(r"^❌ ([\w-]+): FAIL", re.MULTILINE)
_TOTAL = re.compile(r"^Total: (\d+) \| Pass: (\d+) \| Fail: (\d+)", re.MULTILINE)


def validate(file: Path) -> tuple[int, set[str]]:
    """
    Have the validator check a file, and return how many rules passed, and the names of those that did not.

    :param file: In csv or parquet.
    :raises RuntimeError: where the validator did not get to a result, with its output.
    """
    _install()
    command = [str(_FOLDER / "bin" / "focus-validator"), "--data-file", str(file.resolve()), "--block-download"]
    command += ["--validate-version", VERSION]
    # It opens its list of currencies relative to the folder that it runs in. Its exit code is 0 whatever it finds.
    done = subprocess.run(
        command, cwd=_packages(), capture_output=True, text=True, env=clean_environ(_FOLDER), check=False
    )
    if (total := _TOTAL.search(done.stdout)) is None:
        raise RuntimeError(f"focus-validator ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return int(total[2]), set(_FAILED.findall(done.stdout))


def _packages() -> Path:
    return _FOLDER / "lib" / f"python{PYTHON}" / "site-packages"


def _install() -> None:
    """Make the environment, once for each lock."""
    if _FOLDER.exists():
        return
    if (python := find_python(PYTHON)) is None:
        raise RuntimeError(f"There is no Python {PYTHON} on this machine.")
    with locked():
        install_tools()
        if _FOLDER.exists():
            return
        making = _FOLDER.with_name("focus-unfinished")
        log = LOGS / "focus-install.log"
        uv, env = TOOLS / "bin" / "uv", nox_environ()
        run_logged([uv, "venv", "--clear", "--relocatable", "--python", python, making], log=log, env=env)
        options: list[str | Path] = ["--require-hashes", "-r", _LOCK]
        run_logged([uv, "pip", "install", "--python", making / "bin" / "python", *options], log=log, env=env)
        making.rename(_FOLDER)
