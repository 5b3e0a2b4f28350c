from __future__ import annotations

import json
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.responses import Response, read_response, unreachable_error
from airflow_provider_portkey.client.settings import read_settings

KEY = "pk-0123456789abcdefghijklmnopqrstuvwxyz"
SETTINGS = read_settings(host="https://portkey.test", api_key=KEY, extra={"provider_api_key": "sk-provider"})
RETIRED = "has retired the Assistants API"
RUN = "/threads/thread_1/runs/run_1"


def response(
    status: int, body: Any, headers: dict[str, str] | None = None, *, path: str = RUN, method: str = "GET"
) -> Response:
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(method, path, status, CaseInsensitiveDict(headers or {}), content)


def error_of(*args: Any, **kwargs: Any) -> exceptions.PortkeyRequestError:
    with pytest.raises(exceptions.PortkeyRequestError) as raised:
        read_response(response(*args, **kwargs), SETTINGS)
    return raised.value


def provider_error(message: str = "Rate limit reached", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None, **more}}


def portkey_error(message: str) -> dict[str, Any]:
    return {"status": "failure", "message": message}


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_json_object_is_returned_unchanged(status: int) -> None:
    body = {"id": "run_1", "unknown": [{"deep": None}], "has_more": False}

    assert read_response(response(status, body), SETTINGS) == body


@pytest.mark.parametrize(
    ("status", "body", "headers", "error", "refused_by", "shown"),
    [
        (
            401,
            portkey_error("Portkey Error: Invalid API Key. Error Code: 03"),
            {},
            exceptions.PortkeyAuthenticationError,
            "portkey",
            ["Portkey refused (401): Portkey Error: Invalid API Key. Error Code: 03", "the connection's password"],
        ),
        (
            401,
            provider_error("Incorrect API key provided", code="invalid_api_key"),
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
            provider_error("No access to this model"),
            {},
            exceptions.PortkeyPermissionDeniedError,
            "provider",
            ["the provider behind Portkey refused (403): No access", "Give the provider's key the permission"],
        ),
        (
            400,
            portkey_error("Invalid provider passed"),
            {},
            exceptions.PortkeyBadRequestError,
            "portkey",
            ["Portkey refused (400): Invalid provider passed"],
        ),
        (
            400,
            provider_error("Invalid 'limit'", code="invalid_value"),
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
            portkey_error("Something went wrong"),
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
            provider_error("The server had an error"),
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
            provider_error("Request exceeded the timeout", type="timeout_error"),
            {},
            exceptions.PortkeyRequestTimeoutError,
            "portkey",
            ["Portkey refused (408): Request exceeded the timeout", "too slow for the gateway"],
        ),
        (
            408,
            provider_error("slow"),
            {},
            exceptions.PortkeyRequestTimeoutError,
            "provider",
            ["the provider behind Portkey"],
        ),
        (
            429,
            provider_error(code="rate_limit_exceeded"),
            {"Retry-After": "7"},
            exceptions.PortkeyRateLimitedError,
            "provider",
            ["the provider behind Portkey refused (429): Rate limit reached (rate_limit_exceeded)", "Slow down"],
        ),
        (
            412,
            provider_error("Budget spent"),
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
            provider_error("No run found"),
            {},
            exceptions.PortkeyNotFoundError,
            "provider",
            ["(404): No run found", RETIRED],
        ),
        (410, "gone", {}, exceptions.PortkeyNotFoundError, None, ["the server refused (410): 'gone'", RETIRED]),
        (409, provider_error("Active run"), {}, exceptions.PortkeyBadRequestError, "provider", ["(409): Active run"]),
        (422, {"detail": "x"}, {}, exceptions.PortkeyBadRequestError, None, ['(422): \'{"detail": "x"}\'']),
        (
            302,
            "",
            {"Location": "https://login.corp/?next=/secret"},
            exceptions.PortkeyRedirectedError,
            None,
            [
                "the server returned 302, a redirect to 'https://login.corp/', which is not followed",
                "Check the connection's host",
            ],
        ),
        (
            200,
            "<html>Please log in</html>",
            {"Content-Type": "text/html"},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            [
                "the server returned 200 with a body that is no JSON object (text/html): '<html>Please",
                "Check the connection's host",
            ],
        ),
        (
            200,
            ["a", "list"],
            {"Content-Type": "application/json"},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            ['no JSON object (application/json): \'["a", "list"]\''],
        ),
        (
            200,
            b"",
            {},
            exceptions.PortkeyUnexpectedResponseError,
            None,
            ["no JSON object (no content type): an empty body"],
        ),
        (204, b"", {}, exceptions.PortkeyUnexpectedResponseError, None, ["the server returned 204"]),
        (200, b'{"id": "run_1"', {}, exceptions.PortkeyUnexpectedResponseError, None, ["no JSON object"]),
    ],
)
def test_each_error_response_has_its_exception(
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


def test_ids_are_in_the_attributes_and_in_the_message() -> None:
    headers = {"X-Portkey-Trace-Id": "trace-7", "X-Request-ID": "req_9", "x-portkey-retry-attempt-count": "2"}
    error = error_of(500, provider_error(), headers)

    assert (error.trace_id, error.request_id) == ("trace-7", "req_9")
    assert "(trace id trace-7, request id req_9, gateway retries 2)." in str(error)


def test_a_message_names_only_ids_that_the_response_has() -> None:
    error = error_of(500, provider_error(), {"x-portkey-retry-attempt-count": "0"})

    assert (error.trace_id, error.request_id) == (None, None)
    assert "trace id" not in str(error)
    assert "gateway retries" not in str(error)


def test_the_seconds_to_wait_are_an_attribute() -> None:
    assert error_of(429, provider_error(), {"retry-after-ms": "1500"}).retry_after == 1.5
    assert error_of(429, provider_error()).retry_after is None


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("path", "hinted"), [(RUN, True), ("/threads/t/messages", True), ("/models", False)])
def test_only_thread_paths_get_the_hint_about_the_retired_api(status: int, path: str, hinted: bool) -> None:
    assert (RETIRED in str(error_of(status, provider_error("Not found"), path=path))) is hinted


def test_the_message_names_the_method() -> None:
    assert str(error_of(400, provider_error(), method="POST")).startswith(f"POST {RUN}: ")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (401, provider_error(f"Incorrect API key provided: {KEY}. sk-provider"), {}),
        (401, portkey_error(f"Invalid {KEY}"), {}),
        (200, f"<html>{KEY} sk-provider</html>", {}),
        (502, f"Authorization: Bearer sk-provider {KEY}", {}),
        (302, "", {"Location": f"https://login.corp/{KEY}"}),
        (500, "oops", {"x-portkey-trace-id": KEY, "x-request-id": "sk-provider"}),
        (200, "x", {"content-type": f"text/{KEY}"}),
    ],
)
def test_secrets_in_a_response_are_redacted(status: int, body: Any, headers: dict[str, str]) -> None:
    error = error_of(status, body, headers)

    for shown in (str(error), repr(error), error.server_message):
        assert KEY not in shown
        assert "sk-provider" not in shown
    assert "***" in str(error)


@pytest.mark.parametrize("before", range(300 - len(KEY) - 5, 305))
def test_a_secret_across_the_cut_is_redacted(before: int) -> None:
    error = error_of(502, "x" * before + KEY + "y" * 1000)

    assert KEY[:4] not in str(error)


def test_a_secret_far_behind_in_a_body_is_not_shown() -> None:
    error = error_of(502, " " * (16 * 1024 - 20) + KEY + "y" * 1000)

    assert KEY[:15] not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        "x" * 1_000_000,
        [["x" * 1_000_000]],
        provider_error("x" * 1_000_000),
        portkey_error("x" * 1_000_000),
    ],
    ids=["text", "json-without-message", "provider-message", "portkey-message"],
)
def test_a_huge_error_body_is_cut(body: Any) -> None:
    error = error_of(500, body)

    assert "xxx" in error.server_message
    assert len(str(error)) < 3_000


def test_a_shown_body_is_one_line() -> None:
    assert error_of(502, "<html>\n\n   <p>\tBad\r\n</p>").server_message == "'<html> <p> Bad </p>'"


def test_json_nested_too_deeply_is_an_unexpected_response() -> None:
    assert type(error_of(200, b"[" * 100_000)) is exceptions.PortkeyUnexpectedResponseError


def test_an_unreachable_server_is_named_with_the_redacted_reason() -> None:
    attempt = Attempt(SETTINGS)
    attempt.request_sent = False
    error = unreachable_error("GET", RUN, f"refused {KEY}", SETTINGS, attempt)

    assert type(error) is exceptions.PortkeyUnreachableError
    assert error.status_code is None
    assert error.request_sent is False
    assert error.server_message == "refused ***"
    assert f"GET {RUN} got no complete response from https://portkey.test/v1: refused ***." in str(error)
