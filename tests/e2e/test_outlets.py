"""What Airflow's REST API says of the events of outlet assets, on the way from a table to a table through a batch."""

from __future__ import annotations

from typing import Any

from tests.e2e.waiting import succeed


def test_the_events_of_outlet_assets_say_what_was_made(airflow: Any, provider: Any) -> None:
    provider.plan("batches", statuses="completed", failing=["t-1"], cost=0.5)
    airflow.wait_for_dag("outlets")
    airflow.api.unpause("outlets")
    succeed(airflow, "outlets", airflow.api.trigger("outlets"))

    def extra_of(name: str) -> dict[str, Any]:
        (event,) = airflow.api.get("/assets/events", name_pattern=f"outlets_{name}")["asset_events"]
        return dict(event["extra"])

    requests, batch, table, merged, page = map(extra_of, ("requests", "batch", "table", "merged", "page"))
    assert (requests["rows"], requests["requests"]) == (3, 3)
    assert requests["uri"].endswith("/outlets/requests.jsonl")
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"completed": 2, "failed": 1, "total": 3}
    assert (table["uri"].rpartition("/")[2], table["rows"], table["failed"], table["cost"]) == (
        "table.jsonl",
        3,
        1,
        1.0,
    )
    assert table["usage"]["total_tokens"] == merged["usage"]["total_tokens"] == 50
    assert (merged["uri"].rpartition("/")[2], merged["rows"], merged["cost"]) == ("merged.parquet", 3, 1.0)
    assert (page["uri"].rpartition("/")[2], page["statuses"]) == ("page.html", {"failed": 1, "succeeded": 2})
