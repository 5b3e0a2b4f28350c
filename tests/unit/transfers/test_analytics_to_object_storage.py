from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyDestinationExistsError,
    PortkeyInvalidArgumentError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.analytics import REPORTS
from airflow_provider_portkey.parameters import PARAMETERS
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.analytics_to_object_storage import PortkeyAnalyticsToObjectStorageOperator

WINDOW = {"window_start": "2026-07-01T00:00:00Z", "window_end": "2026-07-03T00:00:00Z"}
MODELS = ["openai__small", "openai__large", "anthropic__medium"]


@pytest.fixture
def portkey(mock_server: PortkeyMockServer) -> PortkeyMockServer:
    """Ninety requests of two days: one each half hour, of three models, three teams and two users."""
    start = datetime(2026, 7, 1, 0, 15, tzinfo=UTC)
    mock_server.add_analytics_requests(
        {
            "created_at": (start + timedelta(minutes=30 * number)).isoformat(),
            "provider": MODELS[number % 3].partition("__")[0],
            "model": MODELS[number % 3].partition("__")[2],
            "cost_cents": 0.07,
            "tokens": number,
            "latency_ms": number,
            "status": 500 if number % 10 == 0 else 200,
            "metadata": {"team": f"team_{number % 3}"} | ({"_user": f"user_{number % 2}"} if number < 60 else {}),
        }
        for number in range(90)
    )
    return mock_server


@pytest.fixture
def operator(tmp_path: Path) -> Callable[..., PortkeyAnalyticsToObjectStorageOperator]:
    def make(**arguments: Any) -> PortkeyAnalyticsToObjectStorageOperator:
        given = {"report": "cost", "workspace_slug": "ws-1", "path": str(tmp_path / "rows.jsonl")} | WINDOW | arguments
        return PortkeyAnalyticsToObjectStorageOperator(task_id="analytics", **given)

    return make


@pytest.fixture
def export(operator: Any, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def export(**arguments: Any) -> list[dict[str, Any]]:
        operator(**arguments).execute({})
        return [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]

    return export


def test_the_rows_of_a_graph_are_portkeys_own_intervals(portkey: PortkeyMockServer, export: Any) -> None:
    rows = export(report="requests")

    assert len(rows) == 45  # hours with requests
    assert rows[0] == {
        "workspace_slug": "ws-1",
        "interval_start": "2026-07-01T00:00:00Z",
        "interval_end": None,
        "group_by": None,
        "group_value": None,
        "requests": 2,
    }
    assert sum(row["requests"] for row in rows) == 90
    assert len(portkey.requests) == 1


def test_a_row_for_each_day_has_the_summary_of_the_day(portkey: PortkeyMockServer, export: Any) -> None:
    assert [(row["interval_start"], row["interval_end"], row["requests"]) for row in
            export(report="requests", interval="day", window_start="2026-07-01T12:00:00Z")] == [
        ("2026-07-01T12:00:00Z", "2026-07-02T00:00:00Z", 24),
        ("2026-07-02T00:00:00Z", "2026-07-03T00:00:00Z", 42),
    ]  # fmt: skip


@pytest.mark.parametrize("interval", ["hour", "day", "window"])
@pytest.mark.parametrize(
    ("report", "column", "total"),
    [("requests", "requests", 90), ("cost", "cost_cents", 6.3), ("tokens", "tokens", 4005), ("errors", "errors", 9)],
)
@pytest.mark.parametrize("group_by", [None, "user", "model", "provider", "metadata.team"])
def test_the_rows_of_every_group_and_interval_sum_up_to_the_whole(
    portkey: PortkeyMockServer, export: Any, group_by: str | None, report: str, column: str, total: float, interval: str
) -> None:
    models = MODELS if group_by in ("model", "provider") else None
    rows = export(report=report, group_by=group_by, interval=interval, models=models)

    if group_by == "user":  # a third of the requests names none
        total = {"requests": 60, "cost": 4.2, "tokens": 1770, "errors": 6}[report]
    assert sum(row[column] for row in rows) == pytest.approx(total)
    expected = {
        None: {None},
        "user": {"user_0", "user_1"},
        "model": set(MODELS),
        "provider": {"openai", "anthropic"},
        "metadata.team": {"team_0", "team_1", "team_2"},
    }
    assert {row["group_value"] for row in rows} == expected[group_by]
    keys = [(row["interval_start"], row["interval_end"], row["group_value"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_latency_of_a_user_is_that_of_the_users_requests(portkey: PortkeyMockServer, export: Any) -> None:
    rows = export(report="latency", group_by="user", interval="window")
    assert [(row["group_value"], row["avg_ms"], row["p50_ms"], row["p99_ms"]) for row in rows] == [
        ("user_0", 29, 30, 58),
        ("user_1", 30, 31, 59),
    ]


def test_models_are_listed_by_portkey_for_the_number_of_requests_alone(portkey: PortkeyMockServer, export: Any) -> None:
    assert {row["group_value"]: row["requests"] for row in export(report="requests", group_by="model")} == {
        "small": 30,
        "large": 30,
        "medium": 30,
    }
    assert len(portkey.requests) == 1


def test_filters_and_groups_go_together(portkey: PortkeyMockServer, export: Any) -> None:
    filters = {"metadata": '{"team": "team_0"}'}
    rows = export(report="tokens", group_by="user", interval="window", filters=filters)
    expected = {f"user_{user}": sum(n for n in range(60) if n % 3 == 0 and n % 2 == user) for user in (0, 1)}
    assert {row["group_value"]: row["tokens"] for row in rows} == expected


@pytest.mark.parametrize("value", [None, "", 5])
def test_groups_without_a_value_are_counted_where_no_filter_selects_them(
    portkey: PortkeyMockServer, operator: Any, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    portkey.fault(path="*/groups/users", body={"object": "list", "total": 1, "data": [{"user": value}]})
    manifest = operator(report="tokens", group_by="user").execute({})
    assert (manifest["rows"], manifest["groups_without_value"]) == (0, 1)
    assert "without a user" in caplog.text


def test_the_same_window_gives_the_same_bytes_in_every_format(
    portkey: PortkeyMockServer, operator: Any, tmp_path: Path
) -> None:
    for file_format in ("jsonl", "json", "csv", "parquet"):
        arguments = {"path": str(tmp_path / "rows"), "file_format": file_format, "group_by": "metadata.team"}
        hashes = {operator(**arguments).execute({})["sha256"] for _ in range(2)}
        assert len(hashes) == 1


def test_tables_are_typed(portkey: PortkeyMockServer, operator: Any, tmp_path: Path) -> None:
    operator(path=str(tmp_path / "a.parquet"), file_format="parquet", group_by="user", interval="day").execute({})
    operator(path=str(tmp_path / "a.csv"), file_format="csv", group_by="user", interval="day").execute({})

    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "workspace_slug string",
        "interval_start timestamp[us, tz=UTC]",
        "interval_end timestamp[us, tz=UTC]",
        "group_by string",
        "group_value string",
        "cost_cents double",
        "avg_cost_cents double",
        "requests int64",
        "other_fields string",
    ]
    assert table["interval_start"][0].as_py() == datetime(2026, 7, 1, tzinfo=UTC)
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["interval_start"] for row in rows][::2] == ["2026-07-01T00:00:00Z", "2026-07-02T00:00:00Z"]
    assert float(rows[0]["cost_cents"]) == pytest.approx(24 * 0.07)


def test_focus_rows_are_in_dollars_and_within_their_month(
    portkey: PortkeyMockServer, export: Any, operator: Any, tmp_path: Path
) -> None:
    rows = export(columns="focus", group_by="provider", models=MODELS, window_start="2026-06-30T12:00:00Z")

    assert [row["ChargePeriodStart"] for row in rows][::2] == [
        "2026-06-30T12:00:00Z",
        "2026-07-01T00:00:00Z",
        "2026-07-02T00:00:00Z",
    ]
    assert [(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows[1:3]] == [
        ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"),
        ("2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"),
    ]
    assert sum(row["BilledCost"] for row in rows) == pytest.approx(0.063)
    assert sum(row["PricingQuantity"] for row in rows) == 4005
    assert {row["PublisherName"] for row in rows} == {"openai", "anthropic"} == {row["x_GroupValue"] for row in rows}

    operator(columns="focus", path=str(tmp_path / "focus.csv"), file_format="csv").execute({})
    header = (tmp_path / "focus.csv").read_text().splitlines()[0].split(",")
    assert header == list(rows[0])
    assert "other_fields" not in header


def test_focus_by_user_has_the_tokens_of_each_user(portkey: PortkeyMockServer, export: Any) -> None:
    rows = export(columns="focus", group_by="user")
    assert sum(row["ConsumedQuantity"] for row in rows) == 1770
    assert sum(row["EffectiveCost"] for row in rows) == pytest.approx(0.042)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"report": "spend"}, r"report='spend' .* one of 'requests', 'cost', 'tokens', 'errors', 'latency'"),
        ({"group_by": "team"}, r"group_by='team' .* 'metadata.' and a key, such as 'metadata.team'"),
        ({"group_by": "metadata."}, r"group_by='metadata.'"),
        ({"interval": "week"}, r"interval='week' .* one of 'auto', 'hour', 'day', 'window'"),
        ({"columns": "foocus"}, r"columns='foocus' .* 'focus' or None"),
        ({"columns": "focus", "report": "tokens"}, r"report='tokens' .* 'cost' for the columns of FOCUS"),
        ({"columns": "focus", "interval": "window"}, r"interval='window' .* 'day' or 'hour'"),
        ({"group_by": "provider"}, r"models=None .*openai__gpt-4o.* no providers with cost"),
        ({"group_by": "model"}, r"models=None .* no models with cost"),
        ({"models": MODELS}, r"models=.* None, unless group_by is 'model' or 'provider'"),
        ({"group_by": "model", "models": ["gpt-4o"]}, r"models='gpt-4o' .* provider__model"),
        ({"group_by": "model", "models": []}, r"models=\[\]"),
        ({"group_by": "model", "models": ["a__b,c__d"]}, r"models='a__b,c__d'"),
        ({"group_by": "model", "models": MODELS, "filters": {"ai_org_model": "a__b"}}, r"ai_org_model"),
        ({"filters": {"model": "x"}}, r"filters='model' .* names among total_units_min"),
        ({"filters": ["x"]}, r"filters=\['x'\]"),
        ({"filters": {"metadata": "team"}}, r"filters\['metadata'\]='team'"),
        ({"workspace_slug": None}, r"workspace_slug=None .* 'workspace_slug' of the connection's extra"),
        ({"workspace_slug": " "}, r"workspace_slug=' '"),
        ({"window_end": "2026-06-30T00:00:00Z"}, r"window_end='2026-06-30T00:00:00Z' .* after window_start"),
        ({"window_start": "2026-07-01"}, r"window_start='2026-07-01' .* with its zone"),
        ({"window_end": "2999-01-01T00:00:00Z"}, r"window_end='2999-01-01T00:00:00Z' .* in the past"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    portkey: PortkeyMockServer, operator: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=message):
        operator(**arguments).execute({})
    assert portkey.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"report": "spend"},
        {"group_by": "team"},
        {"interval": "week"},
        {"columns": "x"},
        {"report": "tokens", "columns": "focus"},
        {"interval": "window", "columns": "focus"},
        {"group_by": "provider"},
        {"window_start": "2026-07-04T00:00:00Z"},
    ],
)
def test_literal_bad_input_is_an_error_where_the_dag_is_parsed(operator: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(PortkeyInvalidArgumentError):
        operator(**arguments)


def test_templated_values_are_checked_after_rendering(portkey: PortkeyMockServer, operator: Any) -> None:
    task = operator(report="{{ report }}", models='{{ ["openai__small"] | tojson }}', group_by="{{ group }}")
    task.render_template_fields({"report": "errors", "group": "model"})
    task.execute({})
    assert portkey.requests[0].path == "/v1/analytics/graphs/errors"
    with pytest.raises(PortkeyInvalidArgumentError, match="report"):
        operator(report="{{ report }}").execute({})


def test_the_workspace_of_the_connection_is_taken(
    portkey: PortkeyMockServer, operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = portkey.connection()
    connection["extra"]["workspace_slug"] = "ws-of-the-connection"
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    assert operator(workspace_slug=None).execute({})["workspace_slug"] == "ws-of-the-connection"
    assert "workspace_slug=ws-of-the-connection" in portkey.requests[0].query


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"summary": {"avg": 1}, "data_points": []}, "total='missing'"),
        ({"summary": {"total": "much", "avg": 1}, "data_points": []}, "total='much'"),
    ],
)
def test_a_graph_without_its_numbers_is_an_error(
    portkey: PortkeyMockServer, operator: Any, tmp_path: Path, body: dict[str, Any], message: str
) -> None:
    portkey.fault(body=body)
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        operator(interval="day").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("timestamp", [None, "yesterday", {}])
def test_a_data_point_without_a_timestamp_is_an_error(portkey: Any, operator: Any, timestamp: Any) -> None:
    portkey.fault(body={"summary": {}, "data_points": [{"timestamp": timestamp, "total": 1, "avg": 1}]})
    with pytest.raises(PortkeyUnexpectedResponseError, match="timestamp"):
        operator().execute({})


def test_numbers_that_are_strings_are_read_and_others_kept(portkey: Any, operator: Any, tmp_path: Path) -> None:
    rows = [
        {"user": "a", "requests": "12", "cost": "3.5"},
        {"user": "b", "requests": "many", "cost": None},
        {"user": "c"},
    ]
    portkey.fault(body={"object": "list", "total": 3, "data": rows}, times=None)
    operator(group_by="user", path=str(tmp_path / "a.parquet"), file_format="parquet").execute({})
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["requests"], row["cost_cents"], row["other_fields"]) for row in table] == [
        (12, 3.5, None),
        (None, None, '{"requests":"many"}'),
        (None, None, None),
    ]


def test_the_file_is_whole_or_absent(
    portkey: PortkeyMockServer, operator: Any, tmp_path: Path, waits: list[float]
) -> None:
    portkey.fault(path="*/graphs/tokens", status=500, times=None)
    with pytest.raises(PortkeyServerError):
        operator(columns="focus", group_by="user").execute({})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_before_anything_is_sent(
    portkey: PortkeyMockServer, operator: Any, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(PortkeyDestinationExistsError):
        operator(overwrite=False).execute({})
    assert portkey.requests == []


def test_a_recent_window_is_warned_about(portkey: Any, operator: Any, caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(tz=UTC)
    operator(window_start=now - timedelta(hours=1), window_end=now - timedelta(minutes=1)).execute({})
    assert "is not 5 minutes ago" in caplog.text


def test_many_groups_are_read_page_by_page(mock_server: PortkeyMockServer, operator: Any) -> None:
    mock_server.add_analytics_requests(
        {"created_at": "2026-07-01T10:00:00Z", "metadata": {"_user": f"user_{number}"}} for number in range(250)
    )
    manifest = operator(group_by="user").execute({})
    assert (manifest["rows"], manifest["pages"]) == (250, 3)


def test_the_lineage_names_the_report(portkey: PortkeyMockServer, operator: Any) -> None:
    task = operator(report="errors")
    task.execute({})
    assert task.source_uri().endswith("/analytics/graphs/errors")
    assert task.get_openlineage_facets_on_complete(None) is not None


def test_the_reports_are_those_of_the_parameter() -> None:
    for report in REPORTS:
        assert PARAMETERS["report"]("report", report) == report
    with pytest.raises(PortkeyInvalidArgumentError, match=", ".join(map(repr, REPORTS))):
        PARAMETERS["report"]("report", "other")
