"""A wait whose connection changes, disappears or becomes invalid while the wait is under way, in every mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowSkipException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.client import aio, sync
from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyConnectionInvalidError,
    PortkeyPollingGaveUpError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.sensors.run import PortkeyRunSensor


@dataclass
class Portkey:
    """A Portkey that accepts one key, and completes the run at the last of its polls."""

    portkey_connection: Callable[..., None]
    accepted: str = "pk-first"
    polls: int = 0
    refused: int = 0
    #: By the number of a poll, what happens right before the poll.
    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    last_poll: int = 4

    def connect(self, key: str, **extra: Any) -> None:
        """Store the connection with a key."""
        self.portkey_connection(password=key, extra={"provider": "@openai", **extra})

    def accept(self, key: str) -> None:
        self.accepted = key

    def get(self, client: Any) -> dict[str, Any]:
        self.polls += 1
        self.before.pop(self.polls, lambda: None)()
        if dict(client.settings.headers)["x-portkey-api-key"] != self.accepted:
            self.refused += 1
            raise PortkeyAuthenticationError("Wrong key.", status_code=401, refused_by="portkey")
        return {
            "id": "run_1",
            "thread_id": "thread_1",
            "status": "completed" if self.polls >= self.last_poll else "in_progress",
        }


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: Callable[..., None]) -> Portkey:
    portkey = Portkey(portkey_connection)
    portkey.connect("pk-first")

    async def aget(self: Any, path: str, ids: Any, query: Any = None) -> Any:
        return portkey.get(self)

    monkeypatch.setattr(sync.PortkeyClient, "get", lambda self, *args, **kwargs: portkey.get(self))
    monkeypatch.setattr(aio.AsyncPortkeyClient, "get", aget)
    return portkey


@pytest.fixture
def sensor(task: Any, mode: str) -> Callable[..., Any]:
    """Make a task that waits for a run in one of the modes."""
    return lambda **arguments: task(mode, PortkeyRunSensor, thread_id="thread_1", run_id="run_1", **arguments)


@dataclass
class LookUps:
    """The look-ups of the connection, numbered from 1."""

    count: int = 0
    failing: list[int] = field(default_factory=list)
    before: dict[int, Callable[[], object]] = field(default_factory=dict)


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> LookUps:
    """What happens at the look-ups of the connection."""
    look_ups, get_connection = LookUps(), PortkeyHook.get_connection

    def get(conn_id: str) -> Any:
        look_ups.count += 1
        look_ups.before.get(look_ups.count, lambda: None)()
        if look_ups.count in look_ups.failing:
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return get_connection(conn_id)

    monkeypatch.setattr(PortkeyHook, "get_connection", staticmethod(get))
    return look_ups


def test_a_wait_continues_with_a_key_that_was_rotated(portkey: Portkey, sensor: Any) -> None:
    def rotate() -> None:
        portkey.connect("pk-second")
        portkey.accept("pk-second")

    portkey.before[3] = rotate
    portkey.last_poll = 6

    assert sensor().run()["status"] == "completed"
    assert portkey.refused <= 1


def test_a_second_rotation_is_noticed_too(portkey: Portkey, sensor: Any) -> None:
    for poll, key in ((2, "pk-second"), (4, "pk-third")):
        portkey.before[poll] = lambda key=key: [portkey.connect(key), portkey.accept(key)]
    portkey.last_poll = 7

    assert sensor().run()["status"] == "completed"


def test_a_key_that_is_refused_and_unchanged_ends_the_wait(portkey: Portkey, sensor: Any) -> None:
    portkey.before[2] = lambda: portkey.accept("pk-other")

    with pytest.raises(PortkeyAuthenticationError, match=r"Wrong key\."):
        sensor().run()

    assert portkey.refused == 1


def test_a_connection_that_changes_at_each_look_up_is_not_polled_for_ever(portkey: Portkey, sensor: Any) -> None:
    def change() -> None:
        portkey.connect(f"pk-wrong-{portkey.polls}")
        portkey.before[portkey.polls + 1] = change

    portkey.before[2] = lambda: [portkey.accept("pk-other"), change()]

    with pytest.raises(PortkeyAuthenticationError):
        sensor().run()

    assert portkey.refused == 2


def test_with_silent_fail_a_refused_key_may_be_rotated_later(portkey: Portkey, sensor: Any) -> None:
    portkey.before[2] = lambda: portkey.accept("pk-second")
    portkey.before[5] = lambda: portkey.connect("pk-second")
    portkey.last_poll = 8

    assert sensor(silent_fail=True).run()["status"] == "completed"


def test_a_connection_that_becomes_invalid_ends_the_wait_with_its_error(portkey: Portkey, sensor: Any) -> None:
    portkey.before[2] = lambda: [portkey.accept("pk-other"), portkey.connect("pk-first", read_timeout="soon")]

    with pytest.raises(PortkeyConnectionInvalidError, match=r"read_timeout: expected .*'soon'"):
        sensor().run()


def test_with_silent_fail_a_connection_that_becomes_invalid_may_be_corrected(
    portkey: Portkey, sensor: Any, look_ups: LookUps
) -> None:
    portkey.before[2] = lambda: [portkey.accept("pk-other"), portkey.connect("pk-other", read_timeout="soon")]
    look_ups.before[6] = lambda: portkey.connect("pk-other")
    portkey.last_poll = 6

    assert sensor(silent_fail=True).run()["status"] == "completed"


def test_with_soft_fail_a_connection_that_becomes_invalid_skips(portkey: Portkey, sensor: Any) -> None:
    portkey.before[2] = lambda: [portkey.accept("pk-other"), portkey.connect("pk-first", verify="maybe")]

    with pytest.raises(AirflowSkipException):
        sensor(soft_fail=True).run()


@pytest.mark.parametrize("silent_fail", [False, True])
def test_a_wait_outlives_look_ups_that_fail(
    portkey: Portkey, sensor: Any, mode: str, look_ups: LookUps, silent_fail: bool
) -> None:
    if mode == "reschedule" and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("Airflow 2 does not say whether the task was rescheduled.")
    look_ups.failing += [2, 3]
    portkey.before[3] = lambda: [portkey.connect("pk-second"), portkey.accept("pk-second")]
    portkey.last_poll = 5

    assert sensor(silent_fail=silent_fail).run()["status"] == "completed"


# A poked wait reads its connection once, and Airflow 2 does not say whether a task was rescheduled.
@pytest.mark.parametrize("mode", ["reschedule", "deferred"] if AIRFLOW_V_3_0_PLUS else ["deferred"])
def test_look_ups_that_keep_failing_end_the_wait(portkey: Portkey, sensor: Any, mode: str, look_ups: LookUps) -> None:
    look_ups.failing += range(2, 100)

    with pytest.raises(PortkeyPollingGaveUpError, match=r"3 consecutive polls failed.*'portkey_default' could not be"):
        sensor(max_consecutive_failures=3).run()


def test_a_connection_that_is_missing_from_the_beginning_fails_at_once(
    portkey: Portkey, sensor: Any, look_ups: LookUps
) -> None:
    look_ups.failing += [1]

    with pytest.raises(AirflowNotFoundException):
        sensor().run()

    assert portkey.polls == 0


def test_warnings_about_the_connection_are_logged_once_for_a_task(
    portkey: Portkey, sensor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("airflow_provider_portkey.hooks.connection._warned", set())
    monkeypatch.setattr(
        PortkeyHook, "log", type("Log", (), {"warning": staticmethod(lambda line, *args: lines.append(line % args))})
    )
    portkey.connect("pk-first", providr="x")
    portkey.last_poll = 6

    sensor().run()

    assert lines == [
        "Connection 'portkey_default': Unknown field in extra, not used: 'providr' (did you mean 'provider'?)."
    ]
