"""The arguments of event triggers, checked where a DAG constructs the trigger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

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
    Return pairs of strings, in one order; ``None`` where there is none.

    :raises PortkeyInvalidArgumentError: for anything else but ``None``, and for an empty name.
    """
    if metadata is None:
        return None
    if (
        not isinstance(metadata, Mapping)
        or not all(isinstance(part, str) for pair in metadata.items() for part in pair)
        or "" in metadata
    ):
        raise PortkeyInvalidArgumentError("metadata", metadata, "pairs of strings with a name each, or None")
    return dict(sorted(metadata.items())) or None


def refuse_templates(arguments: Mapping[str, Any]) -> None:
    """
    Refuse Jinja templates and outputs of tasks: Airflow does not render the arguments of an event trigger.

    :raises PortkeyInvalidArgumentError: naming the argument that is one, or that has one within.
    """
    from airflow_provider_portkey.parameters import is_template

    for name, value in arguments.items():
        parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        if any(map(is_template, parts)):
            expected = "a plain value: Airflow renders no templates in the arguments of an event trigger"
            raise PortkeyInvalidArgumentError(name, value, expected)
