"""Which Portkey the demo talks to: a local gateway before a mock server, or the one that the environment names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import gateway
from dev.gateway import Gateway
from dev.phases import phase
from dev.places import ROOT, clean_environ
from dev.processes import Child

#: How long the mock server's run takes: long enough to see that the waiting task is deferred.
RUN_SECONDS = 8
STEPS = 12

_NEEDED = ("PORTKEY_API_KEY", "PORTKEY_THREAD_ID", "PORTKEY_RUN_ID")
#: Environment variable to field of the connection's ``extra``.
_EXTRA = {
    "PORTKEY_PROVIDER": "provider",
    "PORTKEY_VIRTUAL_KEY": "virtual_key",
    "PORTKEY_CONFIG": "config",
    "PORTKEY_PROVIDER_API_KEY": "provider_api_key",
}


@dataclass(frozen=True)
class Target:
    """
    A Portkey, and the run on it to wait for.

    :param connection: The Airflow connection's fields; holds secrets, so it is never printed.
    :param thread_id: The run's thread.
    :param run_id: The run.
    :param description: Where the answers come from, in words.
    :param check: Raises where a process of it has ended.
    """

    connection: Mapping[str, Any]
    thread_id: str
    run_id: str
    description: str
    check: Callable[[], None] = lambda: None


def hosted(environ: Mapping[str, str] = os.environ) -> Target | None:
    """
    Return the Portkey that the environment names, or None where it names none.

    :param environ: Needs ``PORTKEY_API_KEY``, ``PORTKEY_THREAD_ID`` and ``PORTKEY_RUN_ID``.
    """
    if not all(environ.get(name) for name in _NEEDED):
        return None
    key, thread_id, run_id = (environ[name].strip() for name in _NEEDED)
    base = environ.get("PORTKEY_BASE_URL") or environ.get("PORTKEY_PROXY") or "https://api.portkey.ai/v1"
    extra = {field: environ[name].strip() for name, field in _EXTRA.items() if environ.get(name)}
    connection = {"conn_type": "portkey", "host": base, "password": key, "extra": extra}
    return Target(connection, thread_id, run_id, f"your Portkey at {base}")


def _mock_server_url(log: str) -> str | None:
    urls = [word for word in log.split() if word.startswith("http://127.0.0.1:")]
    return urls[0].rstrip("/") if urls else None


def local(folder: Path, running: ExitStack) -> Target:
    """
    Start the real gateway, and behind it the mock server for a provider.

    :param folder: For their logs.
    :param running: Gets what stops them, before they are started.
    :raises PhaseFailed: One of them did not come up.
    """
    thread_id, run_id = "thread_demo", "run_demo"
    with phase("packages of the gateway"):
        gateway.install()
    with phase("Portkey gateway"):
        proxy = Gateway(log=folder / "gateway.log")
        running.callback(proxy.stop)
        proxy.start()
    with phase("mock server for the provider"):
        options = ["--port=0", f"--thread={thread_id}", f"--run={run_id}"]
        options += [f"--seconds={RUN_SECONDS}", f"--steps={STEPS}"]
        command = [sys.executable, "-m", "airflow_provider_portkey.testing", *options]
        mock_server = Child("mock-server", command, log=folder / "mock-server.log", env=clean_environ(), cwd=ROOT)
        running.callback(mock_server.stop)
        mock_server.start()
        url = mock_server.wait_for(lambda: _mock_server_url(mock_server.log_text()), seconds=30, what="URL in its log")

    def check() -> None:
        proxy.check()
        mock_server.check()

    # The gateway asks for no key of its own, but the provider passes one along, as it does to a hosted Portkey.
    extra = {"provider": "openai", "provider_api_key": "mock-provider-key", "custom_host": url}
    connection = {"conn_type": "portkey", "host": proxy.url, "password": "local-demo", "extra": extra}
    return Target(connection, thread_id, run_id, f"the open-source Portkey gateway at {proxy.url}", check)
