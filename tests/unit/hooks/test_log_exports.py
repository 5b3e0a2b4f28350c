"""The calls on log exports, and the download by a signed URL."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyPermissionDeniedError,
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


@pytest.fixture(autouse=True)
def masked(portkey_connection, waits, monkeypatch) -> list[str]:
    """Set the connection, wait for nothing, and return what was masked."""
    texts: list[str] = []
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", texts.append)
    monkeypatch.setattr("airflow_provider_portkey.client.downloads.wait_before_retry", lambda *args: 0.0)
    return texts


@pytest.fixture
def hook() -> PortkeyHook:
    return PortkeyHook()


def test_a_draft_is_made_with_what_was_given_and_nothing_else(hook, requests_mock):
    asked = requests_mock.post(EXPORTS, json={"id": "e1", "total": 7, "object": "export"})
    assert hook.create_log_export(filters={"cost_min": 1}, requested_data=("id",))["total"] == 7
    assert asked.last_request.json() == {"filters": {"cost_min": 1}, "requested_data": ["id"]}
    hook.create_log_export(filters={}, requested_data=["id"], workspace_id="ws", description="why")
    assert asked.last_request.json() == {
        "filters": {},
        "requested_data": ["id"],
        "workspace_id": "ws",
        "description": "why",
    }


def test_a_draft_is_changed_by_put_which_is_repeated(hook, requests_mock):
    answers = [{"status_code": 500}, {"exc": requests.ReadTimeout}, {"json": {"id": "e1", "total": 3}}]
    asked = requests_mock.put(f"{EXPORTS}/e1", answers)
    assert hook.update_log_export("e1", filters={"cost_min": 1})["total"] == 3
    assert asked.call_count == 3
    assert asked.last_request.json() == {"filters": {"cost_min": 1}}
    assert asked.last_request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        ("start_log_export", "POST", "/e%2F1/start"),
        ("get_log_export", "GET", "/e%2F1"),
        ("cancel_log_export", "POST", "/e%2F1/cancel"),
    ],
)
def test_each_call_has_its_path(hook, requests_mock, call, method, path):
    asked = requests_mock.request(method, EXPORTS + path, json={"message": "done"})
    assert getattr(hook, call)("e/1") == {"message": "done"}
    assert asked.call_count == 1


def test_a_start_that_broke_off_is_not_repeated(hook, requests_mock):
    asked = requests_mock.post(f"{EXPORTS}/e1/start", status_code=502)
    with pytest.raises(PortkeyServerError):
        hook.start_log_export("e1")
    assert asked.call_count == 1


@pytest.mark.parametrize("field", ["signed_url", "url"])
def test_the_signed_url_is_found_in_both_spellings_and_masked(hook, requests_mock, masked, field):
    requests_mock.get(f"{EXPORTS}/e1/download", json={field: SIGNED})
    assert hook.log_export_download_url("e1") == SIGNED
    assert SIGNED.partition("?")[2] in masked


@pytest.mark.parametrize("answer", [{}, {"signed_url": None}, {"url": 3}, {"url": "file:///etc/passwd"}])
def test_an_answer_without_a_url_is_named(hook, requests_mock, answer):
    requests_mock.get(f"{EXPORTS}/e1/download", json=answer)
    with pytest.raises(PortkeyUnexpectedResponseError, match="log export 'e1'"):
        hook.log_export_download_url("e1")


def test_the_store_is_sent_nothing_of_the_connection(hook, requests_mock, portkey_connection):
    extra = {"provider_api_key": "sk-provider", "query": {"api-version": "1"}, "headers": {"X-Own": "own-value"}}
    portkey_connection(extra=extra)
    asked = requests_mock.get(STORE, content=b"a\nb\n")
    assert b"".join(hook.iter_signed(SIGNED)) == b"a\nb\n"
    (request,) = asked.request_history
    assert request.url == SIGNED
    assert {name.lower() for name in request.headers} <= {"accept", "accept-encoding", "connection", "user-agent"}


class Store:
    """A store that cuts, refuses and forgets, as a test says, answer by answer."""

    def __init__(self, requests_mock: Any, content: bytes, answers: list[Any]) -> None:
        self.content = content
        self.answers = answers
        self.asked: list[Any] = []
        requests_mock.get(re.compile(STORE), content=self.answer)

    def answer(self, request: Any, context: Any) -> bytes:
        self.asked.append(request)
        what = self.answers.pop(0)
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        context.headers["Content-Length"] = str(len(self.content) - start)
        if isinstance(what, int) and what >= 300:
            context.status_code = what
            context.headers["Content-Length"] = "0"
            return b""
        if start:
            context.status_code = 206
            context.headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        return self.content[start : None if what is None else start + what]


def test_a_cut_download_goes_on_where_it_was_cut(hook, requests_mock):
    store = Store(requests_mock, b"0123456789", [4, 3, None])
    assert b"".join(hook.iter_signed(SIGNED)) == b"0123456789"
    assert [request.headers.get("Range") for request in store.asked] == [None, "bytes=4-", "bytes=7-"]


def test_a_download_that_stays_short_is_an_error(hook, requests_mock):
    Store(requests_mock, b"0123456789", [4, 0, 0, 0, 0, 0])
    with pytest.raises(PortkeyUnreachableError, match="ended after 4 of 10 bytes"):
        list(hook.iter_signed(SIGNED))


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_an_expired_url_is_asked_for_anew_and_the_download_goes_on(hook, requests_mock, masked, status):
    store = Store(requests_mock, b"0123456789", [4, status, None])
    urls = iter([f"{STORE}?X-Amz-Signature=another-secret"])
    assert b"".join(hook.iter_signed(SIGNED, renew=lambda: next(urls))) == b"0123456789"
    assert store.asked[2].url.endswith("?X-Amz-Signature=another-secret")
    assert store.asked[2].headers["Range"] == "bytes=4-"
    assert "X-Amz-Signature=another-secret" in masked


def test_a_url_may_expire_again_once_bytes_have_come(hook, requests_mock):
    Store(requests_mock, b"0123456789", [4, 403, 3, 403, None])
    assert b"".join(hook.iter_signed(SIGNED, renew=lambda: SIGNED)) == b"0123456789"


def test_a_url_that_is_refused_twice_in_a_row_is_refused_for_good(hook, requests_mock):
    store = Store(requests_mock, b"0123456789", [4, 403, 403])
    with pytest.raises(PortkeyPermissionDeniedError):
        list(hook.iter_signed(SIGNED, renew=lambda: SIGNED))
    assert len(store.asked) == 3


def test_without_a_way_to_ask_anew_the_refusal_stands(hook, requests_mock):
    Store(requests_mock, b"0123456789", [403])
    with pytest.raises(PortkeyPermissionDeniedError):
        list(hook.iter_signed(SIGNED))


def test_the_download_of_an_export_asks_for_its_url_and_for_another_one(hook, requests_mock):
    urls = requests_mock.get(f"{EXPORTS}/e1/download", json={"signed_url": SIGNED})
    Store(requests_mock, b"0123456789", [4, 403, None])
    assert b"".join(hook.iter_log_export("e1")) == b"0123456789"
    assert urls.call_count == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status_code": 404, "text": f"no {SIGNATURE} and 0123456789abcdef/secret"}, PortkeyRequestError),
        ({"status_code": 400, "text": f"SignatureProvided {SIGNATURE}"}, PortkeyBadRequestError),
        ({"status_code": 302, "headers": {"Location": SIGNED}}, PortkeyRequestError),
        ({"exc": requests.ConnectionError(f"Max retries exceeded with url: {SIGNED}")}, PortkeyUnreachableError),
        ({"exc": requests.ReadTimeout(SIGNED)}, PortkeyUnreachableError),
    ],
)
def test_neither_errors_nor_logs_hold_the_signature(hook, requests_mock, caplog, answer, expected):
    requests_mock.get(STORE, **answer)
    with caplog.at_level(logging.DEBUG), pytest.raises(expected) as raised:
        list(hook.iter_signed(SIGNED))
    error = raised.value
    causes = [error.__cause__, None if error.__suppress_context__ else error.__context__]
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("requests_mock")]
    said = " ".join([str(error), error.server_message, *map(str, causes), *logged])
    assert "0123456789abcdef" not in said
    assert "https://store.test/bucket/logs.jsonl" in str(error)


def test_the_session_of_a_download_is_closed(hook, requests_mock, monkeypatch):
    closed = []
    monkeypatch.setattr(requests.Session, "close", lambda self: closed.append(SimpleNamespace(headers=self.headers)))
    requests_mock.get(STORE, content=b"x" * 10)
    pieces = hook.iter_signed(SIGNED)
    next(pieces)
    pieces.close()
    assert len(closed) == 1
