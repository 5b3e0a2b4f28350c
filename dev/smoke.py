"""
Use the installed package as a new user would; ``python3 -m dev smoke`` runs it where only the wheel is installed.

Standard library only, and no import of this repository.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

NAME = "airflow-provider-portkey"
AIRFLOW = str(Path(sys.executable).with_name("airflow"))


def airflow(*arguments: str, **env: str) -> str:
    """Run Airflow's command line and return what it prints; exit where it fails."""
    command = [AIRFLOW, *arguments]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_imports() -> int:
    """Import every module that Airflow learns from the package, and return their number."""
    from airflow_provider_portkey.get_provider_info import get_provider_info

    info = get_provider_info()
    modules = [
        module for kind in ("hooks", "sensors", "operators", "triggers") for module in info[kind][0]["python-modules"]
    ]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    modules += [f"airflow_provider_portkey.{name}" for name in ("exceptions", "jobs", "testing")]
    for module in modules:
        importlib.import_module(module)
    return len(modules)


def check_connection() -> str:
    """Test a connection from the shell against the mock server, and return what the test says."""
    command = [sys.executable, "-m", "airflow_provider_portkey.testing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            ready = re.search(r"ready: (\S+)", line)
            if ready is None:
                sys.exit(f"the mock server did not start: {line!r}")
            extra = {"provider": "openai", "provider_api_key": "any"}
            connection = json.dumps({"conn_type": "portkey", "host": ready[1], "password": "any", "extra": extra})
            settings = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled", "AIRFLOW_CONN_PORTKEY_DEFAULT": connection}
            return airflow("connections", "test", "portkey_default", **settings)
        finally:
            server.terminate()


def main(version: str) -> None:
    """
    Check the installed package.

    :param version: The version that it should have.
    """
    import airflow_provider_portkey

    where = Path(airflow_provider_portkey.__file__)
    if "site-packages" not in where.parts:
        sys.exit(f"not the wheel: {where}")
    if metadata.version(NAME) != version or airflow_provider_portkey.__version__ != version:
        sys.exit(f"expected version {version}, found {metadata.version(NAME)}")
    airflow("db", "migrate")
    if version not in airflow("providers", "get", NAME):
        sys.exit("Airflow does not know the provider")
    print(f"{check_imports()} modules imported")
    said = check_connection()
    if "Connection success!" not in said:
        sys.exit(said)
    print("Connection success!")


if __name__ == "__main__":
    main(sys.argv[1])
