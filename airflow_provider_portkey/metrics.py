"""The tokens and the cost of jobs as Airflow metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.jobs.values import cost_of, read_number

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec


#: The metric to which the cost of every kind of job is added.
COST_METRIC = "portkey.cost"


def count_usage(spec: JobSpec, job: Mapping[str, Any]) -> None:
    """
    Add a job's tokens to the metric of its kind and its cost to ``portkey.cost``, tagged with its terminal status.

    :param spec: The kind of job; without a ``metric`` no tokens are counted.
    :param job: The job's last state, or a summary of several jobs with ``tokens_by_status`` and ``cost_by_status``.
    """
    from airflow.providers.common.compat.sdk import Stats

    if spec.metric is not None:
        for status, tokens in _tokens_by_status(spec, job).items():
            Stats.incr(spec.metric, count=tokens, tags={"status": status})
    for status, cost in _cost_by_status(spec, job).items():
        count_cost(spec.kind, status, cost)


def count_cost(kind: str, status: str, cost: float | None) -> None:
    """
    Add a cost to ``portkey.cost``, tagged with kind and status; nothing for ``None`` and for a negative cost.

    :param cost: In the server's currency, as it named it; fractions are counted as they are.
    """
    if cost is None or cost < 0:
        return
    from airflow.providers.common.compat.sdk import Stats

    stats: Any = Stats  # declares whole numbers; StatsD, DataDog and OpenTelemetry take fractions
    stats.incr(COST_METRIC, count=cost, tags={"kind": kind, "status": status})


def _tokens_by_status(spec: JobSpec, job: Mapping[str, Any]) -> Mapping[str, int]:
    if isinstance(summed := job.get("tokens_by_status"), Mapping):
        return summed
    status, usage = job.get("status"), job.get("usage")
    tokens = read_number(usage.get("total_tokens")) if isinstance(usage, Mapping) else None
    if not isinstance(status, str) or status not in spec.terminal_statuses or tokens is None:
        return {}
    return {status: int(tokens)}


def _cost_by_status(spec: JobSpec, job: Mapping[str, Any]) -> Mapping[str, float]:
    if isinstance(summed := job.get("cost_by_status"), Mapping):
        return summed
    status, cost = job.get("status"), cost_of(job.get("usage"))
    return {} if cost is None or status not in spec.terminal_statuses else {str(status): cost}
