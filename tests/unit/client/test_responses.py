from __future__ import annotations

import json
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.responses import Response, read_response, unreachable_error
from airflow_provider_portkey.client.settings import read_settings

KEY = "pk-0123456789abcdefghijklmnopqrstuvwxyz"
CREDENTIALS = read_settings(host="https://portkey.test", api_key=KEY, extra={"provider_api_key": "sk-provider"})
RETIRED = "has retired the Assistants API"
RUN = "/threads/thread_1/runs/run_1"


def answer(
    status: int, body: Any, headers: dict[str, str] | None = None, *, path: str = RUN, method: str = "GET"
) -> Response:
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(method, path, status, CaseInsensitiveDict(headers or {}), content)


def error_of(*args: Any, **kwargs: Any) -> exceptions.PortkeyRequestError:
    with pytest.raises(exceptions.PortkeyRequestError) as raised:
        read_response(answer(*args, **kwargs), CREDENTIALS)
    return raised.value


def from_provider(message: str = "Rate limit reached", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None, **more}}


def from_portkey(message: str) -> dict[str, Any]:
    return {"status": "failure", "message": message}


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_json_object_is_returned_as_it_came(status: int) -> None:
    body = {"id": "run_1", "unknown": [{"deep": None}], "has_more": False}

    assert read_response(answer(status, body), CREDENTIALS) == body


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "refused_by", "shown"),
    [
        (
            401,
            from_portkey("Portkey Error: Invalid API Key. Error Code: 03"),
            {},
            exceptions.PortkeyAuthenticationError,
            "portkey",
            ["Portkey refused (401): Portkey Error: Invalid API Key. Error Code: 03", "the connection's password"],
        ),
        (
            401,
            from_provider("Incorrect API key provided", code="invalid_api_key"),
            {},
            exceptions.PortkeyAuthenticationError,
            "provider",
            [
                "the provider behind Portkey refused (401): Incorrect API key provided (invalid_api_key)",
                "provider_api_key",
            ],
        ),
        (
            401,
            "<html>Sign in</html>",
            {},
            exceptions.PortkeyAuthenticationError,
            None,
            ["the server refused (401): '<html>Sign in</html>'", "Check both keys"],
        ),
        (
            403,
            {"success": False, "data": {"message": "You do not have enough permissions", "errorCode": "AB03"}},
            {},
            exceptions.PortkeyPermissionDeniedError,
            "portkey",
            ["Portkey refused (403): You do not have enough permissions (AB03)", "the scope that this call needs"],
        ),
        (
            403,
            from_provider("No access to this model"),
            {},
            exceptions.PortkeyPermissionDeniedError,
            "provider",
            ["the provider behind Portkey refused (403): No access", "Give the provider's key the permission"],
        ),
        (
            400,
            from_portkey("Invalid provider passed"),
            {},
            exceptions.PortkeyBadRequestError,
            "portkey",
            ["Portkey refused (400): Invalid provider passed"],
        ),
        (
            400,
            from_provider("Invalid 'limit'", code="invalid_value"),
            {},
            exceptions.PortkeyBadRequestError,
            "provider",
            ["the provider behind Portkey refused (400): Invalid 'limit' (invalid_value)"],
        ),
        (
            400,
            {"error": "no such thread"},
            {},
            exceptions.PortkeyBadRequestError,
            "provider",
            ["the provider behind Portkey refused (400): no such thread"],
        ),
        (
            500,
            from_portkey("Something went wrong"),
            {"x-portkey-gateway-exception": "true"},
            exceptions.PortkeyServerError,
            "portkey",
            ["Portkey failed (500): Something went wrong"],
        ),
        (
            500,
            "Message: fetch failed Cause: connect ECONNREFUSED 127.0.0.1:9",
            {"content-type": "text/plain"},
            exceptions.PortkeyServerError,
            "portkey",
            ["the gateway could not reach the provider (500): 'Message: fetch failed Cause: connect ECONNREFUSED"],
        ),
        (
            500,
            from_provider("The server had an error"),
            {},
            exceptions.PortkeyServerError,
            "provider",
            ["the provider behind Portkey failed (500): The server had an error"],
        ),
        (
            502,
            "<html><h1>502 Bad Gateway</h1></html>",
            {},
            exceptions.PortkeyServerError,
            None,
            ["the server failed (502): '<html><h1>502 Bad Gateway</h1></html>'"],
        ),
        (503, b"", {}, exceptions.PortkeyServerError, None, ["the server failed (503): an empty body"]),
        (504, b"\xff\xfe", {}, exceptions.PortkeyServerError, None, ["the server failed (504): "]),
        (
            408,
            from_provider("Request exceeded the timeout", type="timeout_error"),
            {},
            exceptions.PortkeyRequestTimeoutError,
            "portkey",
            ["Portkey refused (408): Request exceeded the timeout", "too slow for the gateway"],
        ),
        (
            408,
            from_provider("slow"),
            {},
            exceptions.PortkeyRequestTimeoutError,
            "provider",
            ["the provider behind Portkey"],
        ),
        (
            429,
            from_provider(code="rate_limit_exceeded"),
            {"Retry-After": "7"},
            exceptions.PortkeyRateLimitedError,
            "provider",
            ["the provider behind Portkey refused (429): Rate limit reached (rate_limit_exceeded)", "Slow down"],
        ),
        (
            412,
            from_provider("Budget spent"),
            {},
            exceptions.PortkeyBudgetExceededError,
            "portkey",
            ["Portkey refused (412): Budget spent", "A budget or a usage limit"],
        ),
        (
            446,
            {"hook_results": {}, "error": {"message": "The guardrail checks failed"}},
            {},
            exceptions.PortkeyGuardrailDeniedError,
            "portkey",
            ["Portkey refused (446): The guardrail checks failed", "A guardrail that is set in Portkey"],
        ),
        (
            404,
            from_provider("No run found"),
            {},
            exceptions.PortkeyNotFoundError,
            "provider",
            ["(404): No run found", RETIRED],
        ),
        (410, "gone", {}, exceptions.PortkeyNotFoundError, None, ["the server refused (410): 'gone'", RETIRED]),
        (409, from_provider("Active run"), {}, exceptions.PortkeyBadRequestError, "provider", ["(409): Active run"]),
        (422, {"detail": "x"}, {}, exceptions.PortkeyBadRequestError, None, ['(422): \'{"detail": "x"}\'']),
        (
            302,
            "",
            {"Location": "https://login.corp/?next=/secret"},
            exceptions.PortkeyRedirectedError,
            None,
            ["answered 302, a redirect to 'https://login.corp/', which is not followed", "Check the connection's host"],
        ),
        (
            200,
            "<html>Please log in</html>",
            {"Content-Type": "text/html"},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            [
                "answered 200 with something that is not a JSON object (text/html): '<html>Please",
                "Check the connection's host",
            ],
        ),
        (
            200,
            ["a", "list"],
            {"Content-Type": "application/json"},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            ['not a JSON object (application/json): \'["a", "list"]\''],
        ),
        (
            200,
            b"",
            {},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            ["not a JSON object (no content type): an empty body"],
        ),
        (204, b"", {}, exceptions.PortkeyUnexpectedResponseError, None, ["answered 204"]),
        (200, b'{"id": "run_1"', {}, exceptions.PortkeyUnexpectedResponseError, None, ["not a JSON object"]),
    ],
)
def test_each_answer_becomes_its_own_error(
    status: int,
    body: Any,
    headers: dict[str, str],
    error: type[exceptions.PortkeyRequestError],
    refused_by: str | None,
    shown: list[str],
) -> None:
    raised = error_of(status, body, headers)

    assert type(raised) is error
    assert raised.status_code == status
    assert raised.refused_by == refused_by
    assert str(raised).startswith(f"GET {RUN}: ")
    for part in shown:
        assert part in str(raised)
    assert raised.server_message


def test_traces_are_in_the_attributes_and_in_the_message() -> None:
    headers = {"X-Portkey-Trace-Id": "trace-7", "X-Request-ID": "req_9", "x-portkey-retry-attempt-count": "2"}
    error = error_of(500, from_provider(), headers)

    assert (error.trace_id, error.request_id) == ("trace-7", "req_9")
    assert "(trace id trace-7, request id req_9, gateway retries 2)." in str(error)


def test_without_traces_nothing_is_said_about_them() -> None:
    error = error_of(500, from_provider(), {"x-portkey-retry-attempt-count": "0"})

    assert (error.trace_id, error.request_id) == (None, None)
    assert "trace id" not in str(error)
    assert "gateway retries" not in str(error)


def test_the_seconds_to_wait_are_kept() -> None:
    assert error_of(429, from_provider(), {"retry-after-ms": "1500"}).retry_after == 1.5
    assert error_of(429, from_provider()).retry_after is None


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("path", "hinted"), [(RUN, True), ("/threads/t/messages", True), ("/models", False)])
def test_only_thread_paths_get_the_hint_about_the_retired_api(status: int, path: str, hinted: bool) -> None:
    assert (RETIRED in str(error_of(status, from_provider("Not found"), path=path))) is hinted


def test_the_method_is_named() -> None:
    assert str(error_of(400, from_provider(), method="POST")).startswith(f"POST {RUN}: ")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (401, from_provider(f"Incorrect API key provided: {KEY}. sk-provider"), {}),
        (401, from_portkey(f"Invalid {KEY}"), {}),
        (200, f"<html>{KEY} sk-provider</html>", {}),
        (502, f"Authorization: Bearer sk-provider {KEY}", {}),
        (302, "", {"Location": f"https://login.corp/{KEY}"}),
        (500, "oops", {"x-portkey-trace-id": KEY, "x-request-id": "sk-provider"}),
        (200, "x", {"content-type": f"text/{KEY}"}),
    ],
)
def test_secrets_that_the_answer_echoes_are_cleaned(status: int, body: Any, headers: dict[str, str]) -> None:
    error = error_of(status, body, headers)

    for text in (str(error), repr(error), error.server_message):
        assert KEY not in text
        assert "sk-provider" not in text
    assert "***" in str(error)


@pytest.mark.parametrize("before", range(300 - len(KEY) - 5, 305))
def test_a_secret_across_the_cut_leaves_nothing_behind(before: int) -> None:
    error = error_of(502, "x" * before + KEY + "y" * 1000)

    assert KEY[:4] not in str(error)


def test_a_secret_across_the_end_of_what_is_read_leaves_nothing_behind() -> None:
    error = error_of(502, " " * (16 * 1024 - 20) + KEY + "y" * 1000)

    assert KEY[:15] not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        "x" * 1_000_000,
        [["x" * 1_000_000]],
        from_provider("x" * 1_000_000),
        from_portkey("x" * 1_000_000),
    ],
    ids=["text", "json-without-message", "provider-message", "portkey-message"],
)
def test_a_huge_error_body_is_cut(body: Any) -> None:
    error = error_of(500, body)

    assert "xxx" in error.server_message
    assert len(str(error)) < 3_000


def test_white_space_in_a_shown_body_is_one_line() -> None:
    assert error_of(502, "<html>\n\n   <p>\tBad\r\n</p>").server_message == "'<html> <p> Bad </p>'"


def test_json_nested_too_deeply_is_an_unexpected_answer() -> None:
    assert type(error_of(200, b"[" * 100_000)) is exceptions.PortkeyUnexpectedResponseError


def test_no_answer_is_unreachable_with_the_reason_cleaned() -> None:
    error = unreachable_error("GET", RUN, f"refused {KEY}", CREDENTIALS, request_sent=False)

    assert type(error) is exceptions.PortkeyUnreachableError
    assert error.status_code is None
    assert error.request_sent is False
    assert error.server_message == "refused ***"
    assert f"GET {RUN} got no answer from https://portkey.test/v1: refused ***." in str(error)
