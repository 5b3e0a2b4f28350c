"""Where things of this repository lie, and the environment that programs run in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
EXAMPLE_DAGS = ROOT / "example_dags"
NODE_PROJECT = ROOT / "dev" / "node"
PRISM_PROJECT = ROOT / "dev" / "prism"
#: Everything that a command fetches or builds, except the environments that nox makes; ignored by git.
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"

#: Settings of the caller's Python that would change what an environment holds or imports.
_FOREIGN = {
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
}


def digest(*files: Path) -> str:
    """Return twelve characters that stand for the contents of the files, in this order."""
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


def clean_environ(prefix: Path | None = None) -> dict[str, str]:
    """
    Return the environment for a child: this process's, without what belongs to another Python.

    :param prefix: The virtual environment whose programs come first on the child's PATH.
    """
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    if prefix is not None:
        env["VIRTUAL_ENV"] = str(prefix)
        env["PATH"] = os.pathsep.join([str(prefix / "bin"), env.get("PATH", os.defpath)])
    return env
