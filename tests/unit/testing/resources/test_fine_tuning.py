from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer


def test_a_job_advances_by_the_clock(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    statuses = [("validating_files", 0), ("queued", 1), ("running", 2), ("succeeded", 5)]
    mock_server.add_fine_tuning_job(job_id="j", statuses=statuses)
    seen = []
    for seconds in (0, 1, 1, 3):
        clock.now += seconds
        job = call("GET", "/fine_tuning/jobs/j")
        seen.append((job["status"], job["trained_tokens"], job["finished_at"]))
    assert seen[:3] == [(status, None, None) for status in ("validating_files", "queued", "running")]
    assert seen[3] == ("succeeded", 1000, clock.now)
    assert (job["object"], job["fine_tuned_model"]) == ("fine_tuning.job", "ft:mock-model:j")


def test_a_failed_job_reports_its_error(mock_server: PortkeyMockServer, call: Any) -> None:
    error = {"code": "invalid_file", "message": "Bad line.", "param": "training_file"}
    mock_server.add_fine_tuning_job(job_id="j", statuses="failed", error=error)
    job = call("GET", "/fine_tuning/jobs/j")
    assert (job["error"], job["fine_tuned_model"], job["trained_tokens"]) == (error, None, None)


@pytest.mark.parametrize("what", ["events", "checkpoints"])
def test_its_lists_are_paged_newest_first(mock_server: PortkeyMockServer, call: Any, what: str) -> None:
    mock_server.add_fine_tuning_job(job_id="j", events=45, checkpoints=45)
    ids: list[str] = []
    more = True
    while more:
        page = call("GET", f"/fine_tuning/jobs/j/{what}", params={"after": ids[-1]} if ids else {})
        assert len(page["data"]) == min(20, 45 - len(ids))
        ids += [one["id"] for one in page["data"]]
        more = page["has_more"]
    assert len(set(ids)) == 45
    assert ids == sorted(ids, reverse=True)
    call("GET", f"/fine_tuning/jobs/j/{what}?limit=0", status=400)


def test_events_and_checkpoints_are_about_their_job(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_fine_tuning_job(job_id="j", events=1, checkpoints=1)
    (event,) = call("GET", "/fine_tuning/jobs/j/events")["data"]
    assert (event["level"], event["object"]) == ("info", "fine_tuning.job.event")
    (checkpoint,) = call("GET", "/fine_tuning/jobs/j/checkpoints")["data"]
    assert (checkpoint["fine_tuning_job_id"], checkpoint["step_number"]) == ("j", 1)


def test_a_job_is_cancelled_once(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_fine_tuning_job(job_id="j", statuses="running")
    assert call("POST", "/fine_tuning/jobs/j/cancel")["status"] == "cancelled"
    call("POST", "/fine_tuning/jobs/j/cancel", status=400)
    call("POST", "/fine_tuning/jobs/unknown/cancel", status=404)
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_fine_tuning_job(job_id="j")
