"""Waiting for an uploaded file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_portkey.batch import processing
from airflow_provider_portkey.batch.processing import await_processed, is_processing
from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyRemoteJobFailedError,
    PortkeyRemoteJobNotFinishedError,
    PortkeyServerError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook

FILE = "https://portkey.test/v1/files/assistant-1"
PENDING = {"id": "assistant-1", "object": "file", "status": "pending"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1_800_000_000.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(processing, "time", SimpleNamespace(time=lambda: clock.now, sleep=sleep))
    return clock


@pytest.fixture
def hook(portkey_connection: object) -> PortkeyHook:
    return PortkeyHook()


@pytest.mark.parametrize(
    ("file", "processing_"),
    [
        (PENDING, True),
        ({"id": "f", "status": "running"}, True),
        ({"id": "f", "status": "processed"}, False),
        ({"id": "f", "status": "uploaded"}, False),
        ({"id": "f", "status": "error"}, False),
        ({"id": "f", "status": "unheard of"}, False),
        ({"id": "f", "status": ["pending"]}, False),
        ({"id": "f", "status": None}, False),
        ({"id": "f"}, False),
    ],
)
def test_only_a_file_that_is_being_processed_is_waited_for(file: dict[str, Any], processing_: bool) -> None:
    assert is_processing(file) is processing_


def test_the_file_is_polled_until_it_is_processed(
    hook: PortkeyHook, requests_mock: Any, clock: SimpleNamespace
) -> None:
    polls = requests_mock.get(
        FILE, [{"json": PENDING}, {"status_code": 503}, {"json": {**PENDING, "status": "processed"}}]
    )
    await_processed(hook, PENDING)
    assert polls.call_count == 3
    assert clock.now == 1_800_000_015.0


def test_a_file_that_failed_says_why_and_is_not_retried(hook: PortkeyHook, requests_mock: Any) -> None:
    requests_mock.get(FILE, json={**PENDING, "status": "error", "status_details": "Line 3 is no JSON."})
    with pytest.raises(PortkeyRemoteJobFailedError, match=r"finished as error.*Line 3 is no JSON") as it:
        await_processed(hook, PENDING)
    assert isinstance(it.value, AirflowFailException)


def test_the_wait_is_bounded_and_retried(hook: PortkeyHook, requests_mock: Any, clock: SimpleNamespace) -> None:
    requests_mock.get(FILE, json=PENDING)
    with pytest.raises(PortkeyRemoteJobNotFinishedError, match=r"had not finished within the timeout of 10 min") as it:
        await_processed(hook, PENDING)
    assert not isinstance(it.value, AirflowFailException)
    assert clock.now == 1_800_000_600.0


def test_a_file_that_is_gone_ends_the_wait(hook: PortkeyHook, requests_mock: Any) -> None:
    requests_mock.get(FILE, status_code=404)
    with pytest.raises(PortkeyNotFoundError):
        await_processed(hook, PENDING)


def test_a_response_about_another_file_is_a_failed_poll(hook: PortkeyHook, requests_mock: Any) -> None:
    other = {"id": "assistant-2", "status": "processed"}
    polls = requests_mock.get(FILE, [{"json": other}, {"json": {**PENDING, "status": "processed"}}])
    await_processed(hook, PENDING)
    assert polls.call_count == 2


def test_polls_that_keep_failing_end_the_wait(hook: PortkeyHook, requests_mock: Any) -> None:
    requests_mock.get(FILE, status_code=503)
    with pytest.raises(Exception, match="5 consecutive polls failed") as it:
        await_processed(hook, PENDING)
    assert not isinstance(it.value, (AirflowFailException, PortkeyServerError))
