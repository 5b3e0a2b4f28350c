"""What jobs used, as Airflow metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec


def count_tokens(job: JobSpec, answer: Mapping[str, Any]) -> None:
    """
    Add the tokens of a job that has ended to its kind's metric, tagged with the status that it ended with.

    :param job: Names the metric; where it names none, nothing is counted.
    :param answer: The job as Portkey showed it last, or a summary of many with their ``tokens_by_status``.
    """
    if job.metric is None:
        return
    from airflow.providers.common.compat.sdk import Stats

    for status, tokens in _tokens_by_status(job, answer).items():
        Stats.incr(job.metric, count=tokens, tags={"status": status})


def _tokens_by_status(job: JobSpec, answer: Mapping[str, Any]) -> Mapping[str, int]:
    if isinstance(of_many := answer.get("tokens_by_status"), Mapping):
        return of_many
    status, usage = answer.get("status"), answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    if status not in job.terminal_statuses or not isinstance(tokens, int):
        return {}
    return {str(status): tokens}
