from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer

QUERY = {
    "workspace_slug": "ws",
    "time_of_generation_min": "2026-11-01T00:00:00Z",
    "time_of_generation_max": "2026-11-02T00:00:00Z",
}


@pytest.fixture
def get(mock_server: PortkeyMockServer) -> Callable[..., requests.Response]:
    def get(path: str, **query: Any) -> requests.Response:
        url = f"{mock_server.url}/analytics/{path}"
        return requests.get(url, params=QUERY | query, headers={"Authorization": "Bearer k"}, timeout=10)

    return get


@pytest.fixture
def three(mock_server: PortkeyMockServer) -> PortkeyMockServer:
    mock_server.add_analytics_requests(
        [
            {
                "created_at": "2026-11-01T10:10:00Z",
                "model": "a",
                "metadata": {"_user": "u", "team": "x"},
                "latency_ms": 10,
            },
            {"created_at": "2026-11-01T10:50:00Z", "model": "b", "provider": "other", "cost_cents": 1, "status": 500},
            {"created_at": "2026-11-01T12:00:00Z", "model": "a", "metadata": {"_user": "v", "team": "x"}, "tokens": 5},
            {"created_at": "2026-11-02T00:00:00Z", "model": "a"},  # the end does not belong to the window
        ]
    )
    return mock_server


def test_a_graph_has_a_point_for_each_hour_with_requests(three: PortkeyMockServer, get: Any) -> None:
    assert get("graphs/requests").json() == {
        "summary": {"total": 3},
        "data_points": [
            {"timestamp": "2026-11-01T10:00:00.000Z", "total": 2},
            {"timestamp": "2026-11-01T12:00:00.000Z", "total": 1},
        ],
        "object": "analytics-graph",
    }


@pytest.mark.parametrize(
    ("report", "summary"),
    [
        ("cost", {"total": 1.5, "avg": 0.5}),
        ("tokens", {"total": 55, "avg": pytest.approx(55 / 3)}),
        ("errors", {"total": 1}),
        ("latency", {"avg": 70, "p50": 100, "p90": 100, "p99": 100}),
    ],
)
def test_each_report_has_its_own_figures(three: Any, get: Any, report: str, summary: dict[str, Any]) -> None:
    assert get(f"graphs/{report}").json()["summary"] == summary


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ({"metadata": json.dumps({"_user": "u"})}, 1),
        ({"metadata": json.dumps({"team": "x"})}, 2),
        ({"ai_org_model": "openai__a,other__b"}, 3),
        ({"ai_org_model": "other__a"}, 0),
    ],
)
def test_filters_select_requests(three: Any, get: Any, query: dict[str, str], total: int) -> None:
    assert get("graphs/requests", **query).json()["summary"]["total"] == total


def test_groups_have_the_types_of_the_contract(three: Any, get: Any) -> None:
    kind = {"object": "analytics-group"}
    assert get("groups/users").json() == {
        "object": "list",
        "total": 2,
        "data": [
            {"user": "u", "requests": "1", "cost": "0.25", **kind},
            {"user": "v", "requests": "1", "cost": "0.25", **kind},
        ],
    }
    assert get("groups/ai-models").json()["data"] == [
        {"ai_model": "a", "requests": "2", **kind},
        {"ai_model": "b", "requests": "1", **kind},
    ]
    (team,) = get("groups/metadata/team").json()["data"]
    assert team == {
        **{"metadata_value": "x", "requests": 2, "cost": 0.5, "avg_tokens": 15},
        **{"last_seen": "2026-11-01T12:00:00.000Z", **kind},
    }


def test_groups_come_in_pages(three: Any, get: Any) -> None:
    pages = [get("groups/ai-models", page_size=1, current_page=page).json() for page in range(3)]
    assert [page["total"] for page in pages] == [2, 2, 2]
    assert [[row["ai_model"] for row in page["data"]] for page in pages] == [["a"], ["b"], []]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"workspace_slug": ""}, "workspace_slug"),
        ({"time_of_generation_min": "yesterday"}, "time_of_generation_min"),
        ({"time_of_generation_max": None}, "time_of_generation_max"),
        ({"page_size": "x"}, "page_size"),
    ],
)
def test_wrong_parameters_are_named(get: Any, query: dict[str, Any], param: str) -> None:
    response = get("groups/users", **query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_another_process_adds_requests(mock_server: PortkeyMockServer, get: Any) -> None:
    url = mock_server.url.removesuffix("/v1") + "/_mock_server/analytics_requests"
    added = requests.post(url, json={"requests": [{"created_at": "2026-11-01T10:10:00Z"}]}, timeout=10)
    assert added.json() == {"total": 1}
    assert get("graphs/requests").json()["summary"] == {"total": 1}
