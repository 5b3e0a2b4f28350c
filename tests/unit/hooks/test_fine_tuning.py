"""The calls of fine-tuning jobs."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.hooks.portkey import PortkeyHook

JOB = "https://portkey.test/v1/fine_tuning/jobs/ft%2F1"


@pytest.mark.parametrize(
    ("call", "path"), [("iter_fine_tuning_events", "/events"), ("iter_fine_tuning_checkpoints", "/checkpoints")]
)
def test_each_list_is_read_page_by_page_without_an_order(
    portkey_connection: Any, requests_mock: Any, call: str, path: str
) -> None:
    pages = [{"data": [{"id": "2"}], "has_more": True}, {"data": [{"id": "1"}], "has_more": False}]
    calls = requests_mock.get(JOB + path, [{"json": page} for page in pages])
    sizes: list[int] = []

    rows = getattr(PortkeyHook(), call)("ft/1", on_page=sizes.append)

    assert [row["id"] for row in rows] == ["2", "1"]
    assert sizes == [1, 1]
    assert [request.query for request in calls.request_history] == ["limit=100", "limit=100&after=2"]


def test_a_job_is_requested_by_its_id(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(JOB, json={"id": "ft/1", "status": "running"})

    assert PortkeyHook().get_fine_tuning_job("ft/1") == {"id": "ft/1", "status": "running"}


@pytest.mark.parametrize("call", ["get_fine_tuning_job", "iter_fine_tuning_events", "iter_fine_tuning_checkpoints"])
def test_an_invalid_id_is_refused_at_the_call(portkey_connection: Any, call: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^fine_tuning_job_id="):
        getattr(PortkeyHook(), call)("..")
