from __future__ import annotations

import pytest

from airflow_provider_portkey.testing.scenario import CountedJob, Job


def begun(job: Job, now: float = 1000.0) -> Job:
    job.begin(now, "job_1", [("queued", 0), ("completed", 4)])
    return job


def test_a_job_has_the_default_statuses_of_its_kind_or_its_own() -> None:
    default, own = begun(Job()), begun(Job(statuses="dreaming"))
    for job in (default, own):
        job.update(1004.0)
    assert (default.status, own.status) == ("completed", "dreaming")


def test_timestamps_count_from_the_creation() -> None:
    job = begun(Job(created_at=50))
    job.update(1010.0)
    assert (job.reached_at("queued"), job.reached_at("completed"), job.reached_at("failed")) == (50, 54, None)


def test_a_job_may_start_at_its_first_poll() -> None:
    job = begun(Job(start="first-poll"))
    job.update(2000.0)
    assert job.status == "queued"
    job.poll(3000.0)
    job.update(3004.0)
    assert job.status == "completed"
    with pytest.raises(ValueError, match="start"):
        begun(Job(start="later"))  # type: ignore[arg-type]


def test_a_counted_job_processes_its_items_evenly() -> None:
    job = CountedJob(statuses=[("validating", 0), ("in_progress", 10), ("completed", 20)])
    begun(job)
    job.total = 10
    seen = []
    for now in (1005.0, 1010.0, 1015.0, 1020.0):
        job.update(now)
        seen.append((job.status, job.done))
    assert seen == [("validating", 0), ("in_progress", 0), ("in_progress", 5), ("completed", 10)]


def test_an_expired_job_has_processed_a_part() -> None:
    job = CountedJob(statuses="expired", partial=0.3)
    job.total = 10
    begun(job).update(1000.0)
    assert job.done == 3
