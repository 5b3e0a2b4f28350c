"""The Pythons of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dev.paths import clean_environ


def find_python(version: str) -> Path | None:
    """Return a Python of a version, such as ``3.12``, that runs; ``None`` where there is none."""
    for candidate in _candidates(version):
        command = [str(candidate), "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=clean_environ(), check=False)
        except OSError:
            continue
        if done.stdout.strip() == version:  # not of a shim, which finds no Python to run
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    """Yield what is on the PATH, then what pyenv has installed."""
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from (folder / "bin" / "python" for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True))
