"""The calls of batches and files."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.hooks.portkey import PortkeyHook

BASE = "https://portkey.test/v1"


@pytest.fixture
def hook(portkey_connection: object) -> PortkeyHook:
    return PortkeyHook()


def test_each_call_has_its_path(hook: PortkeyHook, requests_mock: Any) -> None:
    requests_mock.register_uri("GET", f"{BASE}/batches/b%2F1", json={"id": "b/1", "status": "completed"})
    requests_mock.register_uri("POST", f"{BASE}/batches/b%2F1/cancel", json={"id": "b/1", "status": "cancelling"})
    requests_mock.register_uri("POST", f"{BASE}/batches", json={"id": "b/1", "status": "validating"})
    requests_mock.register_uri("GET", f"{BASE}/files/f%2F1", json={"id": "f/1"})
    requests_mock.register_uri("GET", f"{BASE}/files/f%2F1/content", content=b"content")
    requests_mock.register_uri("GET", f"{BASE}/batches/b%2F1/output", content=b"output")

    assert hook.get_batch("b/1") == {"id": "b/1", "status": "completed"}
    assert hook.cancel_batch("b/1")["status"] == "cancelling"
    assert hook.create_batch({"input_file_id": "f/1"})["status"] == "validating"
    assert requests_mock.last_request.json() == {"input_file_id": "f/1"}
    assert hook.get_file("f/1") == {"id": "f/1"}
    assert b"".join(hook.iter_file_content("f/1")) == b"content"
    assert b"".join(hook.iter_batch_output("b/1")) == b"output"


def test_batches_are_read_page_by_page_without_an_order(hook: PortkeyHook, requests_mock: Any) -> None:
    pages = [{"data": [{"id": "b_2"}], "has_more": True}, {"data": [{"id": "b_1"}], "has_more": False}]
    requests_mock.get(f"{BASE}/batches", [{"json": page} for page in pages])
    assert [batch["id"] for batch in hook.iter_batches(page_size=1)] == ["b_2", "b_1"]
    assert [request.query for request in requests_mock.request_history] == ["limit=1", "limit=1&after=b_2"]


def test_files_are_those_of_batches_newest_first(hook: PortkeyHook, requests_mock: Any) -> None:
    requests_mock.get(f"{BASE}/files", json={"data": [{"id": "f_2"}, {"id": "f_1"}], "has_more": False})
    assert [file["id"] for file in hook.iter_batch_files(max_items=1)] == ["f_2"]
    assert requests_mock.last_request.query == "limit=1&order=desc&purpose=batch"


@pytest.mark.parametrize("wrong", ["", ".", "..", None])
def test_an_invalid_id_is_refused_at_the_call(hook: PortkeyHook, wrong: Any) -> None:
    for call in (hook.get_batch, hook.cancel_batch, hook.get_file, hook.iter_file_content, hook.iter_batch_output):
        with pytest.raises(PortkeyInvalidArgumentError):
            call(wrong)
