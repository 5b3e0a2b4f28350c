"""The calls of log exports, and the download by a signed URL."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import requests

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyRequestError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook

EXPORTS = "https://portkey.test/v1/logs/exports"
STORE = "https://store.test/bucket/logs.jsonl"
SIGNATURE = "0123456789abcdef%2Fsecret"
SIGNED = f"{STORE}?X-Amz-Expires=600&X-Amz-Signature={SIGNATURE}"
RENEWED = f"{STORE}?X-Amz-Expires=600&X-Amz-Signature=another-secret"


@pytest.fixture(autouse=True)
def masked(portkey_connection, waits, monkeypatch) -> list[str]:
    """Set the connection, sleep before no retry, and return the masked strings."""
    secrets: list[str] = []
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", secrets.append)
    monkeypatch.setattr("airflow_provider_portkey.client.downloads.wait_before_retry", lambda *args: 0.0)
    return secrets


@pytest.fixture
def hook() -> PortkeyHook:
    return PortkeyHook()


def test_a_draft_is_created_with_the_given_fields_only(hook, requests_mock):
    calls = requests_mock.post(EXPORTS, json={"id": "e1", "total": 7, "object": "export"})
    assert hook.create_log_export(filters={"cost_min": 1}, requested_data=("id",))["total"] == 7
    assert calls.last_request.json() == {"filters": {"cost_min": 1}, "requested_data": ["id"]}
    hook.create_log_export(filters={}, requested_data=["id"], workspace_id="ws", description="why")
    assert calls.last_request.json() == {
        "filters": {},
        "requested_data": ["id"],
        "workspace_id": "ws",
        "description": "why",
    }


def test_a_draft_is_changed_by_put_which_is_retried(hook, requests_mock):
    responses = [{"status_code": 500}, {"exc": requests.ReadTimeout}, {"json": {"id": "e1", "total": 3}}]
    calls = requests_mock.put(f"{EXPORTS}/e1", responses)
    assert hook.update_log_export("e1", filters={"cost_min": 1})["total"] == 3
    assert calls.call_count == 3
    assert calls.last_request.json() == {"filters": {"cost_min": 1}}
    assert calls.last_request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        ("start_log_export", "POST", "/e%2F1/start"),
        ("get_log_export", "GET", "/e%2F1"),
        ("cancel_log_export", "POST", "/e%2F1/cancel"),
    ],
)
def test_each_call_has_its_path(hook, requests_mock, call, method, path):
    calls = requests_mock.request(method, EXPORTS + path, json={"id": "e/1", "status": "draft"})
    assert getattr(hook, call)("e/1") == {"id": "e/1", "status": "draft"}
    assert calls.call_count == 1


def test_a_start_of_unknown_outcome_is_not_retried(hook, requests_mock):
    calls = requests_mock.post(f"{EXPORTS}/e1/start", status_code=502)
    with pytest.raises(PortkeyServerError):
        hook.start_log_export("e1")
    assert calls.call_count == 1


@pytest.mark.parametrize("field", ["signed_url", "url"])
def test_the_signed_url_is_read_in_both_spellings_and_masked(hook, requests_mock, masked, field):
    requests_mock.get(f"{EXPORTS}/e1/download", json={field: SIGNED})
    assert hook.log_export_download_url("e1") == SIGNED
    assert SIGNED.partition("?")[2] in masked


@pytest.mark.parametrize("response", [{}, {"signed_url": None}, {"url": 3}, {"url": "file:///etc/passwd"}])
def test_a_response_without_a_url_is_an_error(hook, requests_mock, response):
    requests_mock.get(f"{EXPORTS}/e1/download", json=response)
    with pytest.raises(PortkeyUnexpectedResponseError, match="log export 'e1'"):
        hook.log_export_download_url("e1")


def test_the_store_receives_nothing_of_the_connection(hook, requests_mock, portkey_connection):
    extra = {"provider_api_key": "sk-provider", "query": {"api-version": "1"}, "headers": {"X-Own": "own-value"}}
    portkey_connection(extra=extra)
    calls = requests_mock.get(STORE, content=b"a\nb\n")
    assert b"".join(hook.iter_signed(SIGNED)) == b"a\nb\n"
    (request,) = calls.request_history
    assert request.url == SIGNED
    assert {name.lower() for name in request.headers} <= {"accept", "accept-encoding", "connection", "user-agent"}


def test_an_expired_url_of_an_export_is_replaced_by_a_new_one(hook, requests_mock, masked):
    urls = requests_mock.get(f"{EXPORTS}/e1/download", [{"json": {"signed_url": url}} for url in (SIGNED, RENEWED)])
    requests_mock.get(SIGNED, status_code=403)
    requests_mock.get(RENEWED, content=b"0123456789")

    assert b"".join(hook.iter_log_export("e1")) == b"0123456789"
    assert urls.call_count == 2
    assert RENEWED.partition("?")[2] in masked


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"status_code": 404, "text": f"no {SIGNATURE} and 0123456789abcdef/secret"}, PortkeyRequestError),
        ({"status_code": 400, "text": f"SignatureProvided {SIGNATURE}"}, PortkeyBadRequestError),
        ({"status_code": 302, "headers": {"Location": SIGNED}}, PortkeyRequestError),
        ({"exc": requests.ConnectionError(f"Max retries exceeded with url: {SIGNED}")}, PortkeyUnreachableError),
        ({"exc": requests.ReadTimeout(SIGNED)}, PortkeyUnreachableError),
    ],
)
def test_neither_errors_nor_logs_show_the_signature(hook, requests_mock, caplog, response, expected):
    requests_mock.get(STORE, **response)
    with caplog.at_level(logging.DEBUG), pytest.raises(expected) as raised:
        list(hook.iter_signed(SIGNED))
    error = raised.value
    causes = [error.__cause__, None if error.__suppress_context__ else error.__context__]
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("requests_mock")]
    shown = " ".join([str(error), error.server_message, *map(str, causes), *logged])
    assert "0123456789abcdef" not in shown
    assert "https://store.test/bucket/logs.jsonl" in str(error)


def test_the_session_of_a_download_is_closed(hook, requests_mock, monkeypatch):
    closed = []
    monkeypatch.setattr(requests.Session, "close", lambda self: closed.append(SimpleNamespace(headers=self.headers)))
    requests_mock.get(STORE, content=b"x" * 10)
    chunks = hook.iter_signed(SIGNED)
    next(chunks)
    chunks.close()
    assert len(closed) == 1
