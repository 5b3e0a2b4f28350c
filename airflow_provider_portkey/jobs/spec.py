"""The declaration of a kind of job: its path, what its statuses mean, its fields, its exception."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.client.paths import id_names
from airflow_provider_portkey.exceptions import PortkeyRemoteJobFailedError
from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.list_spec import ListSpec

#: The fields of a declaration that give statuses a meaning.
STATUS_SETS = ("active_statuses", "success_statuses", "failure_statuses", "action_required_statuses")
#: The fields of a declaration that only tasks use, and triggers do not.
_OF_TASKS = frozenset({"failure_exception", "list_spec", "metadata_field"})
#: Errors of a list that a message shows.
_MAX_ERRORS_SHOWN = 3


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class JobSpec:
    """
    Declares one kind of job. A status in none of the four sets is unknown: not terminal, and polling continues.

    :param kind: The kind's name in messages and events, such as ``"run"``.
    :param path: Path of one job below the base URL, with ``{name}`` for each id; a GET returns the job.
    :param active_statuses: Statuses of a job that continues by itself.
    :param success_statuses: Terminal statuses of a job with a result.
    :param failure_statuses: Terminal statuses of a failed job.
    :param action_required_statuses: Statuses of a job that continues only after an action of its caller.
    :param error_fields: Fields with the error of a failed job; the first one that is not empty counts.
    :param excluded_fields: Fields that are excluded from XCom and events, unless a task includes them.
    :param field_operators: Excluded field to the operator that writes the field to a file, named where it is too large.
    :param progress_field: Field with counts that change while the job is active.
    :param create_path: Path that creates a job by POST, with ``{name}`` for each id that is known before.
    :param cancel_path: Path that cancels the job by POST, with ``{name}`` for each id.
    :param cancel_body: JSON object that this POST sends, ``None`` for no body.
    :param list_spec: The list of the jobs, with ids of ``create_path`` only: finds a job whose creation broke off, by
        the idempotency key in ``metadata_field``.
    :param metadata_field: Field of the job and of the request that creates it: strings by key, which the API stores.
    :param metric: Airflow metric to which the used tokens are added when the status is terminal.
    :param failure_exception: Exception for a status in ``failure_statuses``.
    """

    kind: str
    path: str
    active_statuses: Collection[str]
    success_statuses: Collection[str]
    failure_statuses: Collection[str]
    action_required_statuses: Collection[str] = ()
    error_fields: tuple[str, ...] = ()
    excluded_fields: Collection[str] = ()
    field_operators: Mapping[str, str] = field(default_factory=dict)
    progress_field: str | None = None
    create_path: str | None = None
    cancel_path: str | None = None
    cancel_body: Mapping[str, Any] | None = None
    list_spec: ListSpec | None = None
    metadata_field: str | None = None
    metric: str | None = None
    failure_exception: type[PortkeyRemoteJobFailedError] = PortkeyRemoteJobFailedError

    def __post_init__(self) -> None:
        """
        Check the declaration; each set of statuses may be any collection of strings.

        :raises ValueError: naming the kind and the wrong field.
        """
        for name in STATUS_SETS:
            statuses = getattr(self, name)
            if isinstance(statuses, str):
                raise ValueError(f"Job {self.kind!r}: {name} must be a collection of statuses, not a string.")
            object.__setattr__(self, name, frozenset(statuses))
        object.__setattr__(self, "error_fields", tuple(self.error_fields))
        object.__setattr__(self, "excluded_fields", frozenset(self.excluded_fields))
        known = [status for name in STATUS_SETS for status in getattr(self, name)]
        if repeated := sorted({status for status in known if known.count(status) > 1}):
            raise ValueError(f"Job {self.kind!r}: a status belongs to one set only: {', '.join(repeated)}.")
        if not self.success_statuses or not self.failure_statuses:
            raise ValueError(f"Job {self.kind!r}: success_statuses and failure_statuses must not be empty.")
        if not self.path.startswith("/") or not self.id_names:
            expected = "a path that begins with '/' and has a {name} for the job's id"
            raise ValueError(f"Job {self.kind!r}: path={self.path!r} is not valid: expected {expected}.")
        *parents, own = self.id_names
        for name, used, available in (
            ("create_path", self.create_id_names, tuple(parents)),
            ("cancel_path", id_names(self.cancel_path or ""), (*parents, own)),
            ("list_spec", self.list_spec.id_names if self.list_spec else (), self.create_id_names),
        ):
            if unknown := sorted(set(used) - set(available)):
                raise ValueError(f"Job {self.kind!r}: {name} has {', '.join(unknown)}, which is no id known then.")
        if (self.list_spec is None) != (self.metadata_field is None):
            raise ValueError(f"Job {self.kind!r}: list_spec and metadata_field find a job together, or not at all.")

    def __repr__(self) -> str:
        """Return the same text in every process: Airflow compares the texts of a mapped task's arguments."""
        return f"JobSpec({self.to_dict()})"

    @cached_property
    def terminal_statuses(self) -> Collection[str]:
        """Statuses that do not change any more: of success and of failure."""
        return frozenset((*self.success_statuses, *self.failure_statuses))

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the ids that identify a job, in the order of the path."""
        return id_names(self.path)

    @property
    def create_id_names(self) -> tuple[str, ...]:
        """Names of the ids that are known before the job is created, in the order of ``create_path``."""
        return id_names(self.create_path or "")

    def to_dict(self) -> dict[str, Any]:
        """Return what a wait needs of the declaration, as JSON values for ``JobSpec(**values)``."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _OF_TASKS}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}

    def describe(self, ids: Mapping[str, str]) -> str:
        """Return the job's name for messages: ``run 'run_1' (thread_id 'thread_1')``."""
        *parents, own = self.id_names
        context = ", ".join(f"{name} {ids[name]!r}" for name in parents)
        return f"{self.kind} {ids[own]!r}" + (f" ({context})" if context else "")

    def summary(self, job: Mapping[str, Any], include_fields: Collection[str] = ()) -> dict[str, Any]:
        """Return the job without its excluded fields but for included ones, as Airflow's database can store it."""
        left_out = set(self.excluded_fields) - set(include_fields)
        kept: dict[str, Any] = storable({name: job[name] for name in job if name not in left_out})
        return kept

    def error_message(self, job: Mapping[str, Any]) -> str:
        """Return the job's own error as one line, or an empty string."""
        from airflow_provider_portkey.client.redaction import escape_unprintable

        return escape_unprintable(next(filter(None, (_message(job.get(name)) for name in self.error_fields)), ""))

    def progress(self, job: Mapping[str, Any]) -> str:
        """Return the job's counts: ``completed 120, failed 3, total 200``; without counts an empty string."""
        counts = job.get(self.progress_field) if self.progress_field else None
        if not isinstance(counts, Mapping):
            return ""
        from airflow_provider_portkey.client.redaction import escape_unprintable

        shown = ", ".join(f"{name} {counts[name]}" for name in sorted(counts) if isinstance(counts[name], int))
        return escape_unprintable(shown)


def _message(error: Any) -> str:
    """Return an error object, a list of them or a string as one line."""
    if isinstance(error, Mapping):
        if isinstance(error.get("data"), list):
            return _message(error["data"])
        parts = [str(error[key]) for key in ("code", "reason", "message") if error.get(key)]
        line = error.get("line")
        return ": ".join(parts) + (f" (line {line})" if line else "")
    if isinstance(error, list):
        shown = [message for message in map(_message, error[:_MAX_ERRORS_SHOWN]) if message]
        more = len(error) - _MAX_ERRORS_SHOWN
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
    return str(error) if error else ""
