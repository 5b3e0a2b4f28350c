from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.retries import (
    BACKOFF_CAP,
    BACKOFF_START,
    CALL_BUDGET,
    RETRY_AFTER_CAP,
    may_retry,
    read_retry_after,
    wait_before_retry,
)
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient

NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT
MODELS = "https://portkey.test/v1/models"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "30"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "30"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:20 GMT"}, 20.0),
        ({"Retry-After": "Wednesday, 21-Oct-26 07:28:20 GMT"}, 20.0),
        ({"Retry-After": "Wed, 21 Oct 2026 09:28:20 +0200"}, 20.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, RETRY_AFTER_CAP),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"Retry-After": "60"}, 60.0),
        ({"Retry-After": "61"}, RETRY_AFTER_CAP),
        ({"Retry-After": "inf"}, RETRY_AFTER_CAP),
        ({"Retry-After": "1e999"}, RETRY_AFTER_CAP),
        ({"Retry-After": "-inf"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"retry-after-ms": "nan", "Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "later"}, None),
        ({"Retry-After": "Wed, 99 Oct 2026 07:28:20 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999 07:28:20 GMT"}, None),
    ],
)
def test_each_form_of_retry_after_is_read_within_bounds(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(CaseInsensitiveDict(headers), NOW) == seconds


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_the_older_form_of_http_dates_is_in_gmt_wherever_the_worker_stands(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        seconds = read_retry_after({"retry-after": "Wed Oct 21 07:28:20 2026"}, NOW)
    time.tzset()

    assert seconds == 20.0


@pytest.mark.parametrize("asked", [0.0, 0.25, 7.0, RETRY_AFTER_CAP])
def test_what_was_asked_for_is_never_undercut_and_at_most_a_tenth_is_added(asked: float) -> None:
    assert wait_before_retry(asked, 1, 0.0) == asked
    assert wait_before_retry(asked, 9, 1.0) == pytest.approx(asked * 1.1)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 8.0), (21, 8.0)])
def test_waits_double_up_to_a_cap_and_lose_at_most_a_quarter(attempt: int, longest: float) -> None:
    assert wait_before_retry(None, attempt, 0.0) == longest
    assert wait_before_retry(None, attempt, 1.0) == pytest.approx(longest * 0.75)


def answered(status: int) -> exceptions.PortkeyRequestError:
    return exceptions.error_for_status(status)("refused", status_code=status)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_a_get_is_sent_again_after_what_may_pass(status: int) -> None:
    assert may_retry(answered(status), idempotent=True)


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 410, 412, 422, 446])
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_will_not_pass_is_never_sent_again(status: int, idempotent: bool) -> None:
    assert not may_retry(answered(status), idempotent=idempotent)


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (408, False), (500, False), (502, False), (503, False), (504, False)]
)
def test_a_post_is_sent_again_only_where_it_was_not_carried_out(status: int, again: bool) -> None:
    assert may_retry(answered(status), idempotent=False) is again


@pytest.mark.parametrize(
    ("sent", "idempotent", "again"),
    [(True, True, True), (False, True, True), (True, False, False), (False, False, True)],
)
def test_after_a_broken_connection_a_post_is_sent_again_only_if_it_never_left(
    sent: bool, idempotent: bool, again: bool
) -> None:
    assert may_retry(exceptions.PortkeyUnreachableError("broken", request_sent=sent), idempotent=idempotent) is again


@pytest.mark.parametrize(
    "error",
    [
        exceptions.PortkeyInvalidArgumentError("limit", 0, "more"),
        exceptions.PortkeyPaginationError("again"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_never_tried_again(error: BaseException) -> None:
    assert not may_retry(error, idempotent=True)


def client(max_retries: int = 4) -> PortkeyClient:
    extra = {"max_retries": max_retries, "query": {"token": "query-secret"}}
    return PortkeyClient(read_settings(host="https://portkey.test", api_key="pk-secret-key", extra=extra))


GOOD = {"json": {"data": []}}


def failing(status: int, **headers: str) -> dict[str, Any]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"status_code": status, "json": {"error": {"message": "not now"}}, "headers": names}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_get_succeeds_once_the_server_does(requests_mock: Any, waits: list[float], status: int) -> None:
    requests_mock.get(MODELS, [failing(status), failing(status), GOOD])

    assert client().get("/models", {}) == {"data": []}
    assert requests_mock.call_count == 3
    assert len(waits) == 2
    assert BACKOFF_START * 0.75 <= waits[0] <= BACKOFF_START
    assert BACKOFF_START * 1.5 <= waits[1] <= BACKOFF_START * 2


def test_broken_connections_are_tried_again(requests_mock: Any, waits: list[float]) -> None:
    requests_mock.get(MODELS, [{"exc": requests.ConnectionError("reset")}, {"exc": requests.ReadTimeout("slow")}, GOOD])

    assert client().get("/models", {}) == {"data": []}
    assert len(waits) == 2


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_there_is_one_try_and_as_many_again_as_the_connection_says(
    requests_mock: Any, waits: list[float], max_retries: int
) -> None:
    requests_mock.get(MODELS, [failing(503)])

    with pytest.raises(exceptions.PortkeyServerError, match="not now"):
        client(max_retries).get("/models", {})

    assert requests_mock.call_count == max_retries + 1
    assert len(waits) == max_retries


def test_a_call_may_have_its_own_number_of_retries(requests_mock: Any, waits: list[float]) -> None:
    requests_mock.get(MODELS, [failing(503)])

    with pytest.raises(exceptions.PortkeyServerError):
        client(4).get("/models", {}, max_retries=0)

    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after_ms": "2500"}, 2.5),
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:20 GMT"}, 20.0),
        ({"Retry_After": "86400"}, 60.0),
    ],
)
def test_the_wait_is_what_the_server_asked_for(
    requests_mock: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seconds: float
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.responses.time", SimpleNamespace(time=lambda: NOW))
    requests_mock.get(MODELS, [failing(429, **headers), GOOD])

    client().get("/models", {})

    assert len(waits) == 1
    assert seconds <= waits[0] <= seconds * 1.1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410, 412, 422, 446])
def test_a_refusal_is_final(requests_mock: Any, waits: list[float], status: int) -> None:
    requests_mock.get(MODELS, [failing(status, Retry_After="1")])

    with pytest.raises(exceptions.error_for_status(status)):
        client().get("/models", {})

    assert requests_mock.call_count == 1
    assert waits == []


@pytest.mark.parametrize("body", ["<html>log in</html>", "[]", ""])
def test_a_good_status_with_the_wrong_body_is_final(requests_mock: Any, waits: list[float], body: str) -> None:
    requests_mock.get(MODELS, text=body)

    with pytest.raises(exceptions.PortkeyUnexpectedResponseError):
        client().get("/models", {})

    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    "outcome", [failing(500), failing(408), failing(503, Retry_After="1"), {"exc": requests.ConnectionError("reset")}]
)
def test_a_post_whose_outcome_is_unknown_is_not_sent_again(
    requests_mock: Any, waits: list[float], outcome: dict[str, Any]
) -> None:
    requests_mock.post(MODELS, [outcome, GOOD])

    with pytest.raises(exceptions.PortkeyRequestError):
        client().post("/models", {})

    assert requests_mock.call_count == 1
    assert waits == []


def test_a_post_that_was_turned_away_is_sent_again(requests_mock: Any, waits: list[float]) -> None:
    requests_mock.post(MODELS, [failing(429, Retry_After="3"), GOOD])

    assert client().post("/models", {}, {"a": 1}) == {"data": []}
    assert [request.json() for request in requests_mock.request_history] == [{"a": 1}, {"a": 1}]
    assert 3 <= waits[0] <= 3.3


def test_a_post_to_a_port_where_nobody_listens_is_sent_again(
    closed_port: str, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    refused = PortkeyClient(read_settings(host=closed_port, extra={"max_retries": 2}))

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        refused.post("/models", {})

    assert raised.value.request_sent is False
    assert len(waits) == 2


def test_each_wait_is_logged_with_its_reason_and_without_secrets(
    requests_mock: Any, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    echo = {"status_code": 500, "json": {"error": {"message": "key pk-secret-key, token query-secret"}}}
    requests_mock.get(MODELS, [failing(429, Retry_After="3"), echo, GOOD])

    with caplog.at_level(logging.WARNING, logger="airflow_provider_portkey.client.sync"):
        client(4).get("/models", {})

    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"Try 1 of 5 failed, trying again in {waits[0]:.1f} s: GET /models: ")
    assert "(429): not now" in first
    assert second.startswith(f"Try 2 of 5 failed, trying again in {waits[1]:.1f} s: ")
    assert "key ***, token ***" in second


def test_nothing_is_logged_where_nothing_failed(requests_mock: Any, caplog: pytest.LogCaptureFixture) -> None:
    requests_mock.get(MODELS, [GOOD])

    with caplog.at_level(logging.WARNING, logger="airflow_provider_portkey"):
        client().get("/models", {})

    assert caplog.records == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock by which tenacity counts a call's time: waiting moves it."""
    clock = SimpleNamespace(now=1000.0, waits=[])

    def sleep(seconds: float) -> None:
        clock.waits.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(("asked", "tries"), [("60", 5), ("1", 21)])
def test_a_call_gives_up_before_its_waits_would_pass_the_budget(
    requests_mock: Any, clock: SimpleNamespace, asked: str, tries: int
) -> None:
    requests_mock.get(MODELS, [failing(503, Retry_After=asked)])

    with pytest.raises(exceptions.PortkeyServerError):
        client(20).get("/models", {})

    assert sum(clock.waits) < CALL_BUDGET
    assert requests_mock.call_count == tries


def test_the_time_that_tries_take_counts_towards_the_budget(requests_mock: Any, clock: SimpleNamespace) -> None:
    def slow(request: Any, context: Any) -> str:
        clock.now += 100
        context.status_code = 504
        return "{}"

    requests_mock.get(MODELS, text=slow)

    with pytest.raises(exceptions.PortkeyServerError):
        client(20).get("/models", {})

    assert requests_mock.call_count == 3
    assert max(clock.waits) <= BACKOFF_CAP
