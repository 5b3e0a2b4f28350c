from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_portkey import jobs
from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import ListSpec
from airflow_provider_portkey.testing import PortkeyMockServer

BASE = "https://portkey.test/v1"
THREAD = {"thread_id": "thread_1"}
USERS = ListSpec(
    kind="users",
    path="/analytics/groups/users",
    columns={"user": "text", "requests": "text", "cost": "text"},
    parameters=("current_page", "page_size", "time_of_generation_min"),
    paging="page_number",
    limit_parameter="page_size",
    has_ids=False,
)


def queries(served: Any) -> list[list[tuple[str, str]]]:
    return [parse_qsl(urlsplit(request.url).query) for request in served.request_history]


def test_a_list_is_lazy_and_sends_what_was_given(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    served = serve_list("/threads/thread_1/runs", [{"id": f"run_{number}"} for number in range(45)])
    sizes: list[int] = []

    runs = PortkeyHook().list(jobs.RUNS, THREAD, page_size=20, order="asc", after="run_4", on_page=sizes.append)
    assert served.call_count == 0
    assert [run["id"] for run in islice(runs, 1)] == ["run_5"]
    assert served.call_count == 1
    assert [run["id"] for run in runs] == [f"run_{number}" for number in range(6, 45)]

    common = [("limit", "20"), ("order", "asc")]
    assert queries(served) == [[*common, ("after", "run_4")], [*common, ("after", "run_24")]]
    assert sizes == [20, 20]


def test_further_parameters_are_sent_with_every_page(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    served = serve_list("/threads/thread_1/messages", [{"id": f"msg_{number}"} for number in range(3)])

    list(PortkeyHook().list(jobs.MESSAGES, THREAD, page_size=2, order="asc", run_id="run_1"))

    assert [dict(query)["run_id"] for query in queries(served)] == ["run_1", "run_1"]


def test_numbered_pages_are_read_to_their_end(portkey_connection: Any, requests_mock: Any) -> None:
    rows = [{"object": "analytics-group", "user": f"u{number}", "requests": "1"} for number in range(5)]
    pages = [{"json": {"object": "list", "total": 5, "data": rows[start : start + 2]}} for start in (0, 2, 4)]
    served = requests_mock.get(f"{BASE}/analytics/groups/users", pages)

    found = PortkeyHook().list(USERS, page_size=2, time_of_generation_min="2026-11-22T00:00:00Z")

    assert list(found) == rows
    since = ("time_of_generation_min", "2026-11-22T00:00:00Z")
    assert queries(served) == [[("page_size", "2"), ("current_page", str(number)), since] for number in range(3)]
    page = PortkeyHook().list_page(USERS, limit=2, page=1)
    assert page["total"] == 5
    assert queries(served)[-1] == [("page_size", "2"), ("current_page", "1")]


def test_a_list_of_one_page_sends_no_limit(portkey_connection: Any, requests_mock: Any) -> None:
    served = requests_mock.get(f"{BASE}/models", json={"object": "list", "data": [{"id": "m"}], "total": 1})

    assert list(PortkeyHook().list(jobs.MODELS, provider="openai")) == [{"id": "m"}]
    assert queries(served) == [[("provider", "openai")]]
    PortkeyHook().list_page(jobs.MODELS, limit=5, offset=10)
    assert queries(served)[-1] == [("limit", "5"), ("offset", "10")]


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("ids", lambda hook: hook.list(jobs.RUNS)),
        ("ids", lambda hook: hook.list(jobs.RUNS, {})),
        ("ids", lambda hook: hook.list(jobs.RUNS, {"run_id": "run_1"})),
        ("ids", lambda hook: hook.list(jobs.RUNS, {**THREAD, "run_id": "run_1"})),
        ("ids", lambda hook: hook.list(jobs.BATCHES, THREAD)),
        ("ids", lambda hook: hook.list_page(jobs.RUNS)),
        ("thread_id", lambda hook: hook.list(jobs.RUNS, {"thread_id": ".."})),
        ("thread_id", lambda hook: hook.list_page(jobs.RUNS, {"thread_id": ""})),
        ("page_size", lambda hook: hook.list(jobs.RUNS, THREAD, page_size=101)),
        ("page_size", lambda hook: hook.list(jobs.RUNS, THREAD, page_size=0)),
        ("limit", lambda hook: hook.list_page(jobs.RUNS, THREAD, 0)),
        ("limit", lambda hook: hook.list_page(jobs.RUNS, THREAD, limit=101)),
        ("order", lambda hook: hook.list(jobs.RUNS, THREAD, order="newest")),
        ("order", lambda hook: hook.list(jobs.BATCHES, order="asc")),
        ("max_items", lambda hook: hook.list(jobs.RUNS, THREAD, max_items=-1)),
        ("after", lambda hook: hook.list(jobs.RUNS, THREAD, after="")),
        ("after", lambda hook: hook.list(jobs.MODELS, after="m")),
        ("include", lambda hook: hook.list(jobs.RUNS, THREAD, include=["a"])),
        ("before", lambda hook: hook.list(jobs.RUNS, THREAD, before="run_1")),
        ("page", lambda hook: hook.list(USERS, page=1)),
        ("limit", lambda hook: hook.list(jobs.RUNS, THREAD, limit=5)),
    ],
)
def test_wrong_arguments_are_refused_at_the_call_and_nothing_is_sent(
    portkey_connection: Any, requests_mock: Any, named: str, call: Callable[[PortkeyHook], Any]
) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{named}="):
        call(PortkeyHook())

    assert requests_mock.call_count == 0


@pytest.mark.parametrize(
    ("spec", "pages", "error"),
    [
        (jobs.RUNS, [{"object": "list"}], PortkeyUnexpectedResponseError),
        (jobs.RUNS, [{"data": [{"status": "queued"}]}], PortkeyUnexpectedResponseError),
        (jobs.RUNS, [{"data": [{"id": "a"}], "has_more": True}] * 2, PortkeyPaginationError),
        (USERS, [{"data": [{"user": "a"}]}] * 2, PortkeyPaginationError),
        (jobs.MODELS, [{"data": [{"id": "a"}], "has_more": True}], PortkeyPaginationError),
    ],
)
def test_a_wrong_page_is_a_typed_error(
    portkey_connection: Any, requests_mock: Any, spec: ListSpec, pages: list[dict[str, Any]], error: type[Exception]
) -> None:
    ids = dict.fromkeys(spec.id_names, "id_1")
    path = spec.path.replace("{thread_id}", "id_1")
    requests_mock.get(f"{BASE}{path}", [{"json": page} for page in pages])

    with pytest.raises(error):
        list(PortkeyHook().list(spec, ids))


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_requests_for_many_runs_and_steps_are_counted(mock_server: PortkeyMockServer, order: str) -> None:
    """Two thousand runs and five thousand steps; ``benchmarks/lists.py`` counts ten thousand and 200,000."""
    for number in range(2_000):
        mock_server.add_run(thread_id="t", run_id=f"run_{number}", statuses="completed")
    mock_server.add_run(thread_id="u", run_id="run_long", statuses="completed", steps=5_000)
    hook = PortkeyHook()

    def count(items: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        before = len(mock_server.requests)
        ids = [item["id"] for item in items]
        assert len(set(ids)) == len(ids)
        return len(ids), len(mock_server.requests) - before

    assert count(hook.list(jobs.RUNS, {"thread_id": "t"}, order=order)) == (2_000, 20)
    steps = {"thread_id": "u", "run_id": "run_long"}
    assert count(hook.list(jobs.RUN_STEPS, steps, order=order)) == (5_000, 50)
