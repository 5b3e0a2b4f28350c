from __future__ import annotations

import logging
import time
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
from airflow_provider_portkey.testing import Clock

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
def test_the_older_form_of_http_dates_is_in_gmt_whatever_the_time_zone_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        seconds = read_retry_after({"retry-after": "Wed Oct 21 07:28:20 2026"}, NOW)
    time.tzset()

    assert seconds == 20.0


@pytest.mark.parametrize("retry_after", [0.0, 0.25, 7.0, RETRY_AFTER_CAP])
def test_retry_after_is_never_undercut_and_at_most_a_tenth_is_added(retry_after: float) -> None:
    assert wait_before_retry(retry_after, 1, 0.0) == retry_after
    assert wait_before_retry(retry_after, 9, 1.0) == pytest.approx(retry_after * 1.1)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 8.0), (21, 8.0)])
def test_backoff_is_exponential_up_to_a_cap_with_jitter_of_a_quarter(attempt: int, longest: float) -> None:
    assert wait_before_retry(None, attempt, 0.0) == longest
    assert wait_before_retry(None, attempt, 1.0) == pytest.approx(longest * 0.75)


def error_for(status: int) -> exceptions.PortkeyRequestError:
    return exceptions.error_for_status(status)("refused", status_code=status)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_a_get_is_retried_after_a_transient_error(status: int) -> None:
    assert may_retry(error_for(status), idempotent=True)


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 410, 412, 422, 446])
@pytest.mark.parametrize("idempotent", [True, False])
def test_an_error_that_is_not_transient_is_never_retried(status: int, idempotent: bool) -> None:
    assert not may_retry(error_for(status), idempotent=idempotent)


@pytest.mark.parametrize(
    ("status", "retried"), [(429, True), (408, False), (500, False), (502, False), (503, False), (504, False)]
)
def test_a_post_is_retried_only_where_it_cannot_have_taken_effect(status: int, retried: bool) -> None:
    assert may_retry(error_for(status), idempotent=False) is retried


@pytest.mark.parametrize(
    ("sent", "idempotent", "retried"),
    [(True, True, True), (False, True, True), (True, False, False), (False, False, True)],
)
def test_after_a_broken_connection_a_post_is_retried_only_if_it_was_not_sent(
    sent: bool, idempotent: bool, retried: bool
) -> None:
    assert may_retry(exceptions.PortkeyUnreachableError("broken", request_sent=sent), idempotent=idempotent) is retried


@pytest.mark.parametrize(
    "error",
    [
        exceptions.PortkeyInvalidArgumentError("limit", 0, "more"),
        exceptions.PortkeyPaginationError("loop"),
        ValueError("x"),
        KeyboardInterrupt(),
    ],
)
def test_other_exceptions_are_never_retried(error: BaseException) -> None:
    assert not may_retry(error, idempotent=True)


def client(max_retries: int = 4) -> PortkeyClient:
    extra = {"max_retries": max_retries, "query": {"token": "query-secret"}}
    return PortkeyClient(read_settings(host="https://portkey.test", api_key="pk-secret-key", extra=extra))


GOOD = {"json": {"data": []}}


def failing(status: int, **headers: str) -> dict[str, Any]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"status_code": status, "json": {"error": {"message": "not now"}}, "headers": names}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_get_is_retried_until_it_succeeds(requests_mock: Any, waits: list[float], status: int) -> None:
    requests_mock.get(MODELS, [failing(status), failing(status), GOOD])

    assert client().get("/models", {}) == {"data": []}
    assert requests_mock.call_count == 3
    assert len(waits) == 2
    assert BACKOFF_START * 0.75 <= waits[0] <= BACKOFF_START
    assert BACKOFF_START * 1.5 <= waits[1] <= BACKOFF_START * 2


def test_broken_connections_are_retried(requests_mock: Any, waits: list[float]) -> None:
    requests_mock.get(MODELS, [{"exc": requests.ConnectionError("reset")}, {"exc": requests.ReadTimeout("slow")}, GOOD])

    assert client().get("/models", {}) == {"data": []}
    assert len(waits) == 2


@pytest.mark.parametrize("max_retries", [0, 1, 4])
def test_max_retries_counts_the_attempts_after_the_first_one(
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
def test_the_wait_is_that_of_retry_after(
    requests_mock: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], seconds: float
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.responses.time", Clock(NOW))
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
def test_a_2xx_with_the_wrong_body_is_final(requests_mock: Any, waits: list[float], body: str) -> None:
    requests_mock.get(MODELS, text=body)

    with pytest.raises(exceptions.PortkeyUnexpectedResponseError):
        client().get("/models", {})

    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    "outcome", [failing(500), failing(408), failing(503, Retry_After="1"), {"exc": requests.ConnectionError("reset")}]
)
def test_a_post_of_unknown_outcome_is_not_retried(
    requests_mock: Any, waits: list[float], outcome: dict[str, Any]
) -> None:
    requests_mock.post(MODELS, [outcome, GOOD])

    with pytest.raises(exceptions.PortkeyRequestError):
        client().post("/models", {})

    assert requests_mock.call_count == 1
    assert waits == []


def test_a_rate_limited_post_is_retried(requests_mock: Any, waits: list[float]) -> None:
    requests_mock.post(MODELS, [failing(429, Retry_After="3"), GOOD])

    assert client().post("/models", {}, {"a": 1}) == {"data": []}
    assert [request.json() for request in requests_mock.request_history] == [{"a": 1}, {"a": 1}]
    assert 3 <= waits[0] <= 3.3


def test_each_retry_is_logged_with_its_reason_and_without_secrets(
    requests_mock: Any, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    echo = {"status_code": 500, "json": {"error": {"message": "key pk-secret-key, token query-secret"}}}
    requests_mock.get(MODELS, [failing(429, Retry_After="3"), echo, GOOD])

    with caplog.at_level(logging.WARNING, logger="airflow_provider_portkey.client.sync"):
        client(4).get("/models", {})

    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"Attempt 1 of 5 failed, next attempt in {waits[0]:.1f} s: GET /models: ")
    assert "(429): not now" in first
    assert second.startswith(f"Attempt 2 of 5 failed, next attempt in {waits[1]:.1f} s: ")
    assert "key ***, token ***" in second


def test_a_first_attempt_that_succeeds_logs_nothing(requests_mock: Any, caplog: pytest.LogCaptureFixture) -> None:
    requests_mock.get(MODELS, [GOOD])

    with caplog.at_level(logging.WARNING, logger="airflow_provider_portkey"):
        client().get("/models", {})

    assert caplog.records == []


@pytest.mark.parametrize(("retry_after", "attempts"), [("60", 5), ("1", 21)])
def test_a_call_gives_up_before_its_waits_would_pass_the_budget(
    requests_mock: Any, clock: Clock, retry_after: str, attempts: int
) -> None:
    requests_mock.get(MODELS, [failing(503, Retry_After=retry_after)])

    with pytest.raises(exceptions.PortkeyServerError):
        client(20).get("/models", {})

    assert sum(clock.sleeps) < CALL_BUDGET
    assert requests_mock.call_count == attempts


def test_the_time_of_attempts_counts_towards_the_budget(requests_mock: Any, clock: Clock) -> None:
    def slow(request: Any, context: Any) -> str:
        clock.now += 100
        context.status_code = 504
        return "{}"

    requests_mock.get(MODELS, text=slow)

    with pytest.raises(exceptions.PortkeyServerError):
        client(20).get("/models", {})

    assert requests_mock.call_count == 3
    assert max(clock.sleeps) <= BACKOFF_CAP
