"""Groups of analytics have no ids: pages by number, without loops, repetitions and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyRowsMismatchError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook

BASE = "https://portkey.test/v1/analytics"
WINDOW = {
    "workspace_slug": "ws",
    "time_of_generation_min": "2026-11-01T00:00:00Z",
    "time_of_generation_max": "2026-11-02T00:00:00Z",
}


def users(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"user": f"user_{number}", "requests": "1", "cost": "2"} for number in range(start, stop)]


@pytest.fixture
def serve(portkey_connection: Any, requests_mock: Any) -> Callable[..., Any]:
    """Serve users; ``respond`` returns the page of a number, and ``total``."""

    def serve(respond: Callable[[int, int], dict[str, Any]]) -> Any:
        def page(request: Any, context: Any) -> dict[str, Any]:
            query = parse_qs(urlsplit(request.url).query)
            return {"object": "list", **respond(int(query["current_page"][0]), int(query["page_size"][0]))}

        return requests_mock.get(f"{BASE}/groups/users", json=page)

    return serve


def read(**arguments: Any) -> list[dict[str, Any]]:
    return list(PortkeyHook().iter_analytics_groups("user", **WINDOW, **arguments))


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_every_page_is_read_and_no_further_one(serve: Any, count: int, pages: int) -> None:
    served = serve(lambda page, size: {"total": count, "data": users(page * size, min((page + 1) * size, count))})

    assert read() == users(0, count)
    assert served.call_count == pages
    assert parse_qs(urlsplit(served.request_history[0].url).query) == {
        **{name: [value] for name, value in WINDOW.items()},
        "page_size": ["100"],
        "current_page": ["0"],
    }


def test_a_server_with_smaller_pages_is_read_completely(serve: Any) -> None:
    serve(lambda page, size: {"total": 95, "data": users(page * 10, min(page * 10 + 10, 95))})
    assert read() == users(0, 95)


def test_without_a_total_an_empty_page_ends_the_list(serve: Any) -> None:
    serve(lambda page, size: {"data": users(page * size, min((page + 1) * size, 150))})
    assert read() == users(0, 150)


@pytest.mark.parametrize(
    ("respond", "error"),
    [
        # The number of the page is ignored.
        (lambda page, size: {"total": 500, "data": users(0, 100)}, PortkeyPaginationError),
        # Pages go round.
        (lambda page, size: {"data": users(100 * (page % 3), 100 * (page % 3) + 100)}, PortkeyPaginationError),
        # A group moved to the next page: its own and all behind it.
        (lambda page, size: {"total": 200, "data": users(99 * page, 99 * page + 100)}, PortkeyPaginationError),
        # A group moved to the page before, and was not read.
        (
            lambda page, size: {"total": 200, "data": users(101 * page, min(101 * page + 100, 200))},
            PortkeyRowsMismatchError,
        ),
        # The total grows, or falls.
        (
            lambda page, size: {"total": 300 + page, "data": users(page * 100, page * 100 + 100)},
            PortkeyRowsMismatchError,
        ),
        (
            lambda page, size: {"total": 300 - page, "data": users(page * 100, page * 100 + 100)},
            PortkeyRowsMismatchError,
        ),
        # More groups than counted.
        (lambda page, size: {"total": 3, "data": users(0, 4)}, PortkeyRowsMismatchError),
        # Fewer.
        (lambda page, size: {"total": 5, "data": users(0, 4) if page == 0 else []}, PortkeyRowsMismatchError),
        (lambda page, size: {"total": 1, "data": None}, PortkeyUnexpectedResponseError),
        (lambda page, size: {"total": 1, "data": [1]}, PortkeyUnexpectedResponseError),
    ],
)
def test_a_list_that_changes_or_loops_is_an_error(serve: Any, respond: Any, error: type[Exception]) -> None:
    serve(respond)
    with pytest.raises(error):
        read()


def test_a_total_of_nothing_beside_groups_is_no_count(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    served = serve(lambda page, size: {"total": 0, "data": users(0, 1)})
    assert read() == users(0, 1)
    assert served.call_count == 1
    assert "unknown" in caplog.text


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ({"metadata": {"team": "data", "_user": "ü"}}, {"metadata": '{"_user": "\\u00fc", "team": "data"}'}),
        ({"metadata": '{"team": "data"}'}, {"metadata": '{"team": "data"}'}),
        ({"status_code": [401, 403]}, {"status_code": "401,403"}),
        ({"cost_min": 0.5, "cost_max": None}, {"cost_min": "0.5"}),
    ],
)
def test_filters_are_sent_as_the_api_takes_them(serve: Any, value: dict[str, Any], sent: dict[str, str]) -> None:
    served = serve(lambda page, size: {"total": 0, "data": []})
    read(filters=value)
    query = parse_qs(urlsplit(served.request_history[0].url).query)
    assert {name: query[name][0] for name in query.keys() - WINDOW.keys() - {"page_size", "current_page"}} == sent


@pytest.mark.parametrize("filters", [{"model": "x"}, {"status_code": []}, {"virtual_keys": ""}, {"cost_min": True}])
def test_wrong_filters_are_refused_before_anything_is_sent(serve: Any, filters: dict[str, Any]) -> None:
    served = serve(lambda page, size: {"total": 0, "data": []})
    with pytest.raises(PortkeyInvalidArgumentError, match="filters"):
        PortkeyHook().iter_analytics_groups("user", **WINDOW, filters=filters)
    assert served.call_count == 0


@pytest.mark.parametrize("group_by", ["provider", None, "team", "metadata.", "metadata"])
def test_groups_that_the_api_does_not_list_are_refused(portkey_connection: Any, group_by: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match="metadata"):
        PortkeyHook().iter_analytics_groups(group_by, **WINDOW)


def test_the_key_of_metadata_is_one_segment_of_the_path(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(f"{BASE}/groups/metadata/a%2Fb%20c", json={"total": 0, "data": []})
    assert list(PortkeyHook().iter_analytics_groups("metadata.a/b c", **WINDOW)) == []


@pytest.mark.parametrize(
    "graph",
    [{}, {"summary": {}}, {"summary": [], "data_points": []}, {"summary": {}, "data_points": [1]}, {"data_points": []}],
)
def test_a_response_that_is_no_graph_is_an_error(portkey_connection: Any, requests_mock: Any, graph: Any) -> None:
    requests_mock.get(f"{BASE}/graphs/cost", json=graph)
    with pytest.raises(PortkeyUnexpectedResponseError, match="data_points"):
        PortkeyHook().get_analytics_graph("cost", **WINDOW)


def test_an_unknown_report_is_refused_with_the_known_ones(portkey_connection: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match="report='spend' is not valid: expected one of 'requests', "):
        PortkeyHook().get_analytics_graph("spend", **WINDOW)
