"""The tokens of jobs as Airflow metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.jobs.values import read_number

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec


def count_tokens(spec: JobSpec, job: Mapping[str, Any]) -> None:
    """
    Add a job's tokens to the metric of its kind, tagged with the job's terminal status.

    :param spec: The kind of job; without a ``metric`` nothing is counted.
    :param job: The job's last state, or a summary of several jobs with ``tokens_by_status``.
    """
    if spec.metric is None:
        return
    from airflow.providers.common.compat.sdk import Stats

    for status, tokens in _tokens_by_status(spec, job).items():
        Stats.incr(spec.metric, count=tokens, tags={"status": status})


def _tokens_by_status(spec: JobSpec, job: Mapping[str, Any]) -> Mapping[str, int]:
    if isinstance(summed := job.get("tokens_by_status"), Mapping):
        return summed
    status, usage = job.get("status"), job.get("usage")
    tokens = read_number(usage.get("total_tokens")) if isinstance(usage, Mapping) else None
    if not isinstance(status, str) or status not in spec.terminal_statuses or tokens is None:
        return {}
    return {status: int(tokens)}
