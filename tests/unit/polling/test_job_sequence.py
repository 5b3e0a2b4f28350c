from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyRemoteJobFailedError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.polling.drivers import drive
from airflow_provider_portkey.polling.events import conclude
from airflow_provider_portkey.polling.job_sequence import JobSequencePoller
from airflow_provider_portkey.polling.wait_state import WaitState

JOB = JobSpec(
    kind="job",
    path="/jobs/{job_id}",
    active_statuses=["running"],
    success_statuses=["done"],
    failure_statuses=["broken"],
    error_fields=["error"],
)


class Jobs:
    """Jobs by their ids, as a server has them; counts the requests."""

    def __init__(self, **statuses: str) -> None:
        self.statuses = statuses
        self.requested: list[str] = []

    def get(self, path: str, ids: Mapping[str, str], query: object) -> dict[str, Any]:
        self.requested.append(ids["job_id"])
        status = self.statuses[ids["job_id"]]
        if status == "gone":
            raise PortkeyNotFoundError("gone", status_code=404)
        return {"id": ids["job_id"], "status": status, "error": "no luck"}


def poller(*names: str, deadline: float = 1000.0) -> JobSequencePoller:
    return JobSequencePoller(
        JOB, [{"job_id": name} for name in names], WaitState(started_at=0.0, deadline=deadline, poll_interval=10)
    )


def poll(one: JobSequencePoller, jobs: Jobs, now: float = 1.0) -> Any:
    return one.on_response(drive(one.requests(now), jobs.get), now)


def test_all_jobs_that_have_finished_are_polled_once() -> None:
    jobs, one = Jobs(a="done", b="done", c="running", d="running"), poller("a", "b", "c", "d")
    outcome = poll(one, jobs)
    assert (outcome.event, outcome.wait, jobs.requested) == (None, 10, ["a", "b", "c"])
    assert [ids["job_id"] for ids in one.pending] == ["c", "d"]
    assert "job 'a' is done" in outcome.report
    assert "job 'c' is running" in outcome.report


def test_the_wait_succeeds_when_the_last_job_has() -> None:
    jobs, one = Jobs(a="running", b="running"), poller("a", "b")
    assert poll(one, jobs).event is None
    jobs.statuses.update(a="done", b="done")
    assert conclude(JOB, poll(one, jobs).event)["id"] == "b"


def test_a_job_that_failed_ends_the_wait_with_its_reason() -> None:
    jobs, one = Jobs(a="done", b="broken", c="running"), poller("a", "b", "c")
    with pytest.raises(PortkeyRemoteJobFailedError, match=r"^Job 'b' finished as broken .*: no luck"):
        conclude(JOB, poll(one, jobs).event)
    assert jobs.requested == ["a", "b"]


def test_a_poll_that_fails_later_keeps_the_jobs_for_the_next_one() -> None:
    jobs, one = Jobs(a="done", b="gone"), poller("a", "b")
    with pytest.raises(PortkeyNotFoundError):
        poll(one, jobs)
    assert one.on_failure(PortkeyServerError("down", status_code=500), 2.0).event is None
    jobs.statuses["b"] = "done"
    assert poll(one, jobs).event["reason"] == "succeeded"


def test_the_timeout_is_for_all_jobs_together() -> None:
    jobs, one = Jobs(a="done", b="running"), poller("a", "b", deadline=60)
    assert poll(one, jobs).event is None
    with pytest.raises(PortkeyWaitTimeoutError, match=r"^Job 'b' had not finished within the timeout of 1 min 0 s"):
        conclude(JOB, poll(one, jobs, now=60.0).event)


@pytest.mark.parametrize("status", [[], {}, None, 3])
def test_a_status_of_another_type_is_a_failed_poll(status: Any) -> None:
    jobs, one = Jobs(a=status), poller("a", "b")
    outcome = poll(one, jobs)
    assert outcome.event is None
    assert "poll failed (1 of 5)" in outcome.report
