"""Every request of the analytics operator is one that Portkey's OpenAPI contract allows: Prism refuses the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import PortkeyBadRequestError
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.analytics import FILTERS, REPORTS, WINDOW_PARAMETERS
from airflow_provider_portkey.transfers.analytics_to_object_storage import PortkeyAnalyticsToObjectStorageOperator
from dev.prism import Prism

CONTRACT = Path(__file__).with_name("portkey_analytics_contract.yaml")
WINDOW = {"window_start": "2026-11-01T00:00:00Z", "window_end": "2026-11-02T00:00:00Z"}
#: A value of each filter.
ALL_FILTERS = dict.fromkeys(FILTERS, 1) | {
    "status_code": [200, 429],
    "metadata": {"team": "data"},
    "ai_org_model": ["openai__gpt-4o", "anthropic__claude"],
    "virtual_keys": "vk-1",
}
MODELS = ["openai__gpt-4o", "openai__gpt-5", "anthropic__claude"]


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    with Prism(CONTRACT, log=tmp_path_factory.mktemp("prism") / "prism.log") as prism:
        yield prism


@pytest.fixture
def connection(prism: Prism, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"max_retries": 0, "workspace_slug": "ws-1"}
    connection = {"conn_type": "portkey", "host": f"{prism.url}/v1", "password": "mock-key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The paths of the contract that were requested."""
    found: set[str] = set()
    get = PortkeyClient.get

    def record(self: Any, path: str, ids: Any, *args: Any, **more: Any) -> Any:
        found.add(re.sub(r"{.*?}", "{metadataKey}", f"/v1{path}"))
        return get(self, path, ids, *args, **more)

    monkeypatch.setattr(PortkeyClient, "get", record)
    return found


@pytest.fixture
def export(connection: None, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def export(**arguments: Any) -> list[dict[str, Any]]:
        path = tmp_path / "rows.jsonl"
        operator = PortkeyAnalyticsToObjectStorageOperator(task_id="analytics", path=str(path), **WINDOW | arguments)
        manifest = operator.execute({})
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert manifest["rows"] == len(rows)
        return rows

    return export


def test_every_path_of_the_contract_is_requested(export: Any, requested: set[str]) -> None:
    for report in REPORTS:
        export(report=report)
    for group in ("model", "user", "metadata.team"):
        export(report="requests", group_by=group)

    assert requested == set(yaml.safe_load(CONTRACT.read_text())["paths"])


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("group_by", [None, "user", "model", "provider", "metadata.a key/with ümlaut"])
@pytest.mark.parametrize("interval", ["auto", "hour", "day", "window"])
def test_the_contract_allows_every_report_of_every_group(
    export: Any, report: str, group_by: str | None, interval: str
) -> None:
    models = MODELS if group_by in ("model", "provider") else None
    rows = export(report=report, group_by=group_by, interval=interval, models=models)

    groups = {None: 1, "model": 3, "provider": 2}.get(group_by, 1)
    assert len(rows) == groups * (24 if interval == "hour" else 1)
    assert {row["group_by"] for row in rows} == {group_by}
    assert all(row[name] is not None for row in rows for name in REPORTS[report].fields if not name.startswith("avg_"))


@pytest.mark.parametrize("group_by", [None, "user", "metadata.team", "model", "provider"])
def test_the_contract_allows_the_requests_of_focus(export: Any, group_by: str | None) -> None:
    models = MODELS if group_by in ("model", "provider") else None
    rows = export(report="cost", group_by=group_by, columns="focus", models=models)

    assert {row["BillingAccountId"] for row in rows} == {"ws-1"}
    if group_by == "user":
        assert [row["BilledCost"] for row in rows] == [0.345]


def test_the_contract_has_every_filter(export: Any) -> None:
    export(report="requests", filters=ALL_FILTERS)
    export(report="requests", group_by="user", filters=ALL_FILTERS)

    contract = yaml.safe_load(CONTRACT.read_text())
    names = {name["name"] for name in contract["components"]["parameters"].values()}
    assert {*FILTERS, *WINDOW_PARAMETERS} | {"page_size", "current_page"} == names


def test_prism_refuses_a_request_without_a_workspace(connection: None) -> None:
    with pytest.raises(PortkeyBadRequestError) as refused:
        PortkeyHook().get_conn().get("/analytics/graphs/cost", {}, [("time_of_generation_min", "2026-11-01T00:00:00Z")])
    assert refused.value.status_code == 422
