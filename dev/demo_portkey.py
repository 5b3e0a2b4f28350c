"""Which Portkey the demo talks to: a local gateway before a mock server, or the one that the environment names."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import gateway
from dev.gateway import Gateway
from dev.paths import ROOT, clean_environ
from dev.processes import Child
from dev.steps import step

#: How long the mock server's run takes: long enough to see that the waiting task is deferred.
RUN_SECONDS = 8
STEPS = 12
#: Seconds for a run of a hosted Portkey, which may take its time: the sensor's own time-out, and some more.
HOSTED_TIMEOUT = 3_900.0

_RUN = ("PORTKEY_THREAD_ID", "PORTKEY_RUN_ID")
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
    A Portkey, and the jobs on it.

    :param connection: The Airflow connection's fields; holds secrets, so it is never printed.
    :param thread_id: The run's thread; empty where the provider serves no runs.
    :param run_id: The run to wait for, likewise.
    :param model: The model of a background response; empty for none.
    :param description: Where the responses come from, in words.
    :param check: Raises where a process of it has ended.
    :param timeout: Seconds that the DAG run may last; as any other wait where not given.
    """

    connection: Mapping[str, Any]
    thread_id: str
    run_id: str
    model: str
    description: str
    check: Callable[[], None] = lambda: None
    timeout: float | None = None


def hosted(environ: Mapping[str, str] = os.environ) -> Target | None:
    """
    Return the Portkey that the environment names, or None.

    ``PORTKEY_API_KEY`` is needed, and a run (``PORTKEY_THREAD_ID`` and ``PORTKEY_RUN_ID``), a model for a response
    (``PORTKEY_MODEL``), or both.
    """
    key, model = (environ.get(name, "").strip() for name in ("PORTKEY_API_KEY", "PORTKEY_MODEL"))
    thread_id, run_id = (environ.get(name, "").strip() if all(map(environ.get, _RUN)) else "" for name in _RUN)
    if not key or not (run_id or model):
        return None
    base = environ.get("PORTKEY_BASE_URL") or environ.get("PORTKEY_PROXY") or "https://api.portkey.ai/v1"
    extra = {field: environ[name].strip() for name, field in _EXTRA.items() if environ.get(name)}
    connection = {"conn_type": "portkey", "host": base, "password": key, "extra": extra}
    return Target(connection, thread_id, run_id, model, f"your Portkey at {base}", timeout=HOSTED_TIMEOUT)


def local(folder: Path, running: ExitStack, *, timeout: float) -> Target:
    """
    Start the real gateway, and behind it the mock server for a provider.

    :param folder: For their logs.
    :param running: Gets what stops them, before they are started.
    :param timeout: Seconds that a start may take although the process lives and moves.
    :raises StepFailedError: One of them did not come up.
    """
    thread_id, run_id = "thread_demo", "run_demo"
    with step("packages of the gateway"):
        gateway.install()
    with step("Portkey gateway"):
        proxy = Gateway(log=folder / "gateway.log", timeout=timeout)
        running.callback(proxy.stop)
        proxy.start()
    with step("mock server for the provider"):
        options = ["--port=0", f"--thread={thread_id}", f"--run={run_id}"]
        options += [f"--seconds={RUN_SECONDS}", f"--steps={STEPS}"]
        command = [sys.executable, "-m", "airflow_provider_portkey.testing", *options]
        log = folder / "mock-server.log"
        server = Child("the mock server", command, log=log, env=clean_environ(), cwd=ROOT, timeout=timeout)
        running.callback(server.stop)
        server.start()
        ready = server.wait_for(lambda: re.search(r"ready: (\S+)\n", server.log_text()), "URL in its log")

    def check() -> None:
        proxy.check()
        server.check()

    # The gateway requires no key of its own, but the provider passes one along, as it does to a hosted Portkey.
    extra = {"provider": "openai", "provider_api_key": "mock-provider-key", "custom_host": ready[1]}
    connection = {"conn_type": "portkey", "host": proxy.url, "password": "local-demo", "extra": extra}
    return Target(connection, thread_id, run_id, "gpt-5-mini", f"the open-source Portkey gateway at {proxy.url}", check)
