"""The arguments of event triggers, checked where a DAG constructs the trigger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec


def validate_statuses(statuses: object, job: JobSpec) -> list[str] | None:
    """
    Return terminal statuses of a kind of job, in one order: Airflow compares triggers by their arguments.

    :raises PortkeyInvalidArgumentError: for another status, and for an empty list.
    """
    if statuses is None:
        return None
    allowed = ", ".join(sorted(job.terminal_statuses))
    if isinstance(statuses, str) or not isinstance(statuses, Iterable) or not (chosen := list(statuses)):
        raise PortkeyInvalidArgumentError("statuses", statuses, f"a list of some of {allowed}, or None for all")
    if not all(isinstance(status, str) and status in job.terminal_statuses for status in chosen):
        raise PortkeyInvalidArgumentError("statuses", chosen, f"terminal statuses of a {job.kind} only: {allowed}")
    return sorted(set(chosen))


def validate_metadata(metadata: object) -> dict[str, str] | None:
    """
    Return pairs of strings, in one order.

    :raises PortkeyInvalidArgumentError: for anything else but ``None``.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(
        isinstance(part, str) for pair in metadata.items() for part in pair
    ):
        raise PortkeyInvalidArgumentError("metadata", metadata, "pairs of strings, or None")
    return dict(sorted(metadata.items()))
