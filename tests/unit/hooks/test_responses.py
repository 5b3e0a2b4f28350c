"""The calls of background responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_portkey.hooks.portkey import PortkeyHook

RESPONSE = "https://portkey.test/v1/responses/resp%2F1"


def test_each_call_has_its_path(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(RESPONSE, json={"id": "resp/1", "status": "queued"})
    requests_mock.post(f"{RESPONSE}/cancel", json={"id": "resp/1", "status": "cancelled"})

    assert PortkeyHook().get_response("resp/1") == {"id": "resp/1", "status": "queued"}
    assert PortkeyHook().cancel_response("resp/1")["status"] == "cancelled"


def test_input_items_are_read_page_by_page(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    items = [{"id": f"item_{number}"} for number in range(5)]
    served = serve_list("/responses/resp%2F1/input_items", items)

    assert list(PortkeyHook().iter_response_input_items("resp/1", page_size=3, order="asc")) == items
    assert served.call_count == 2
