"""Operators that submit and wait, run as Airflow runs them, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.testing import PortkeyMockServer

THREAD = "thread_1"


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch, without_reschedules: None) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(run_seconds=0) as mock_server:
        connection = mock_server.connection()
        connection["extra"]["max_retries"] = 0
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
        monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
        mock_server.add_messages(thread_id=THREAD, texts=["Why?"])
        yield mock_server


@pytest.fixture(params=["task state store", "variable"])
def context(
    request: pytest.FixtureRequest, task_context: Callable[..., dict[str, Any]], variables: dict[str, str]
) -> dict[str, Any]:
    """The context of a task on Airflow 3.3 and on an older one."""
    return task_context(store=request.param == "task state store", task_id="start")


@pytest.fixture
def operator() -> Callable[..., PortkeyCreateRunOperator]:
    """Make the operator that creates a run, for one of the three modes."""

    def operator(mode: str = "poke", **changes: Any) -> PortkeyCreateRunOperator:
        arguments = {"assistant_id": "asst_1", "thread_id": THREAD, "poke_interval": 0, "timeout": 60} | changes
        if "thread" in changes:
            del arguments["thread_id"]
        how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
        return PortkeyCreateRunOperator(task_id="start", **how, **arguments)

    return operator


@pytest.fixture
def carry_out() -> Callable[..., Any]:
    """Run a task as Airflow does, with a new operator and a new trigger in each process."""
    from airflow.exceptions import AirflowRescheduleException
    from airflow.providers.common.compat.sdk import TaskDeferred

    async def event_of(trigger: Any) -> Any:
        return await anext(trigger.run())

    def carry_out(make: Callable[[], Any], context: dict[str, Any]) -> Any:
        step: Callable[[], Any] = lambda: make().execute(context)  # noqa: E731
        while True:
            try:
                return step()
            except AirflowRescheduleException:
                continue
            except TaskDeferred as deferred:
                _, arguments = deferred.trigger.serialize()
                trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))
                event = json.loads(json.dumps(asyncio.run(event_of(trigger)).payload))
                step = lambda event=event: make().execute_complete(context, event)  # noqa: E731

    return carry_out


@pytest.fixture
def retry(context: dict[str, Any]) -> Callable[[], None]:
    """Begin the next try of the task."""

    def retry() -> None:
        context["ti"].try_number += 1

    return retry


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the worker die at the first call of a method: before the method is carried out, or afterwards."""

    def killing(owner: type, name: str, *, done: bool) -> None:
        method = getattr(owner, name)

        def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(owner, name, method)
            if done:
                method(self, *args, **kwargs)
            raise SystemExit  # no ``except Exception`` sees it

        monkeypatch.setattr(owner, name, killed)

    return killing


@pytest.fixture
def posts(mock_server: PortkeyMockServer) -> Callable[[str], list[Any]]:
    """Return the bodies of the POST requests to paths with an ending."""

    def posts(ending: str) -> list[Any]:
        found = [one for one in mock_server.requests if one.method == "POST" and one.path.endswith(ending)]
        return [json.loads(one.body) if one.body else None for one in found]

    return posts
