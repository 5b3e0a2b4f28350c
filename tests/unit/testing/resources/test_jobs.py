from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import Clock, PortkeyMockServer

RUN = "/threads/t/runs/r"


def test_a_job_has_the_default_statuses_of_its_kind_or_its_own(
    mock_server: PortkeyMockServer, call: Any, clock: Clock
) -> None:
    mock_server.add_run(thread_id="t", run_id="r", seconds=8)
    assert mock_server.add_run(thread_id="t", statuses="dreaming")["status"] == "dreaming"
    assert mock_server.add_run(thread_id="t")["status"] == "completed"
    seen = []
    for seconds in (0, 2, 6):
        clock.now += seconds
        seen.append(call("GET", RUN)["status"])
    assert seen == ["queued", "in_progress", "completed"]


def test_timestamps_count_from_the_creation(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    mock_server.add_run(thread_id="t", run_id="r", created_at=50, statuses=[("queued", 0), ("completed", 4)])
    clock.now += 10
    run = call("GET", RUN)
    assert (run["created_at"], run["started_at"], run["completed_at"], run["failed_at"]) == (50, 54, 54, None)


def test_a_job_may_start_at_its_first_poll(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    mock_server.add_run(thread_id="t", run_id="r", start="first-poll", seconds=4)
    clock.now += 100
    assert call("GET", "/threads/t/runs")["data"][0]["status"] == "queued"
    run = call("GET", RUN)
    assert (run["status"], run["created_at"]) == ("queued", int(clock.now))
    clock.now += 4
    assert call("GET", RUN) | {"status": "completed", "created_at": run["created_at"]} == call("GET", RUN)
    with pytest.raises(ValueError, match="start"):
        mock_server.add_run(thread_id="t", start="later")  # type: ignore[arg-type]


def test_a_job_that_cannot_be_added_leaves_nothing(mock_server: PortkeyMockServer, call: Any) -> None:
    with pytest.raises(ValueError, match="timeline"):
        mock_server.add_run(thread_id="t", run_id="r", statuses=[])
    assert mock_server.add_run(thread_id="t", run_id="r")["id"] == "r"
