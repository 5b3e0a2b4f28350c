"""Environment of the commands that the docs show."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dev.environments import CURRENT_VERSION

# The pages show the current Airflow; other tests run the package on the older ones.
if not version("apache-airflow").startswith(f"{CURRENT_VERSION}."):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def reader_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Airflow that the commands share."""
    return tmp_path_factory.mktemp("reader") / "airflow"


@pytest.fixture
def shell_environ(reader_home: Path) -> dict[str, str]:
    """The environment of a reader's shell: a home of Airflow, and the programs of this environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    env["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), env.get("PATH", os.defpath)])
    env["AIRFLOW_HOME"] = str(reader_home)
    return env
