"""The declaration of a kind of job: its path, what its statuses mean, its fields, its exception."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from airflow_provider_portkey.client.paths import id_names, same_id
from airflow_provider_portkey.exceptions import (
    PortkeyRemoteJobError,
    PortkeyRemoteJobFailedError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.values import cost_of, read_number
from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.list_spec import ListSpec

#: The fields of a declaration that give statuses a meaning.
STATUS_SETS = ("active_statuses", "success_statuses", "failure_statuses", "action_required_statuses")
#: The fields of a declaration that only tasks use, and triggers do not.
_OF_TASKS = frozenset({"failure_exception", "list_spec", "metadata_field"})
#: Errors of a list that a message shows.
_MAX_ERRORS_SHOWN = 3


class StatusSets(TypedDict):
    """The statuses of the providers of one kind of job, as :func:`merge_statuses` makes them for a declaration."""

    active_statuses: frozenset[str]
    success_statuses: frozenset[str]
    failure_statuses: frozenset[str]
    partial_statuses: frozenset[str]


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
    :param partial_statuses: Those of ``success_statuses`` that have failures beside their result: a warning.
    :param retryable_error_codes: Codes in ``error_fields`` of failures that pass: the job may succeed when it is
        submitted again, so the exception is one after which Airflow retries.
    :param id_field: Field of a job with its own id; ``None`` where a job does not have one.
    :param echoed_ids: Ids of the path, beside the job's own, that a job has under the same names.
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
    :param failure_exception: Exception for a status in ``failure_statuses``, where the failure does not pass.
    """

    kind: str
    path: str
    active_statuses: Collection[str]
    success_statuses: Collection[str]
    failure_statuses: Collection[str]
    action_required_statuses: Collection[str] = ()
    partial_statuses: Collection[str] = ()
    retryable_error_codes: Collection[str] = ()
    id_field: str | None = "id"
    echoed_ids: Collection[str] = ()
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
        for name in (*STATUS_SETS, "partial_statuses", "retryable_error_codes", "echoed_ids"):
            statuses = getattr(self, name)
            if isinstance(statuses, str):
                raise ValueError(f"Job {self.kind!r}: {name} must be a collection of strings, not a string.")
            object.__setattr__(self, name, frozenset(statuses))
        object.__setattr__(self, "error_fields", tuple(self.error_fields))
        object.__setattr__(self, "excluded_fields", frozenset(self.excluded_fields))
        known = [status for name in STATUS_SETS for status in getattr(self, name)]
        if repeated := sorted({status for status in known if known.count(status) > 1}):
            raise ValueError(f"Job {self.kind!r}: a status belongs to one set only: {', '.join(repeated)}.")
        if not self.success_statuses or not self.failure_statuses:
            raise ValueError(f"Job {self.kind!r}: success_statuses and failure_statuses must not be empty.")
        if not self.partial_statuses <= self.success_statuses:  # type: ignore[operator]
            raise ValueError(f"Job {self.kind!r}: partial_statuses must be among success_statuses.")
        if not self.path.startswith("/") or not self.id_names:
            expected = "a path that begins with '/' and has a {name} for the job's id"
            raise ValueError(f"Job {self.kind!r}: path={self.path!r} is not valid: expected {expected}.")
        if unknown := sorted(set(self.echoed_ids).difference(self.id_names[:-1])):
            raise ValueError(f"Job {self.kind!r}: echoed_ids are not in the path: {', '.join(unknown)}.")
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

    @cached_property
    def _shown_ids(self) -> Sequence[tuple[str, str]]:
        """Fields of the response that repeat an id of the request, each with the id's name."""
        own = {self.id_field: self.id_names[-1]} if self.id_field else {}
        return tuple((own | {name: name for name in sorted(self.echoed_ids)}).items())

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

    def check_response(self, ids: Mapping[str, str], job: Mapping[str, Any]) -> None:
        """
        Check that a response is about the job that was requested.

        :param ids: The ids of the request by name.
        :param job: The response.
        :raises PortkeyUnexpectedResponseError: for another id or none, and for a status that is no string.
        """
        status = job.get("status")
        if status is not None and not isinstance(status, str):
            raise self._no_status(ids, status)
        for shown, name in self._shown_ids:
            if not same_id(job.get(shown), ids[name]):
                what = f"The response is not about {self.describe(ids)}: its {shown} is {job.get(shown)!r}."
                raise PortkeyUnexpectedResponseError(what)

    def status_of(self, ids: Mapping[str, str], job: Mapping[str, Any]) -> str:
        """Return the status of the job that was requested; as :meth:`check_response`, and a status is needed."""
        status = job.get("status")
        if not isinstance(status, str) or not status:
            raise self._no_status(ids, status)
        self.check_response(ids, job)
        return status

    def _no_status(self, ids: Mapping[str, str], status: object) -> PortkeyUnexpectedResponseError:
        described = self.describe(ids)
        what = f"The response for {described} is no {self.kind}: its status is {status!r}, a string was expected."
        return PortkeyUnexpectedResponseError(what)

    def failure(self, message: str, *, status: str | None, job: Mapping[str, Any]) -> PortkeyRemoteJobError:
        """Return the exception for a failed job: another one where all its error codes are of failures that pass."""
        codes = {code for name in self.error_fields for code in _codes(job.get(name))}
        if codes and codes <= self.retryable_error_codes:  # type: ignore[operator]
            return PortkeyRemoteJobFailedTransientlyError(message, status=status, job=job)
        return self.failure_exception(message, status=status, job=job)

    def summary(self, job: Mapping[str, Any], include_fields: Collection[str] = ()) -> dict[str, Any]:
        """
        Return the job without its excluded fields but for included ones, as Airflow's database can store it.

        A job whose ``usage`` has a cost has the field ``cost``, too.
        """
        left_out = set(self.excluded_fields) - set(include_fields)
        kept: dict[str, Any] = storable({name: job[name] for name in job if name not in left_out})
        if (cost := cost_of(job.get("usage"))) is not None:
            kept.setdefault("cost", cost)
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

        numbers = ((name, read_number(counts[name])) for name in sorted(counts))
        shown = ", ".join(f"{name} {number}" for name, number in numbers if number is not None)
        return escape_unprintable(shown)


def merge_statuses(*tables: Mapping[str, Collection[str]]) -> StatusSets:
    """Return the statuses of several tables as one; the keys of a table are those of :class:`StatusSets`."""

    def merged(name: str) -> frozenset[str]:
        return frozenset(status for table in tables for status in table.get(name, ()))

    return StatusSets(
        active_statuses=merged("active_statuses"),
        success_statuses=merged("success_statuses"),
        failure_statuses=merged("failure_statuses"),
        partial_statuses=merged("partial_statuses"),
    )


def _codes(error: Any) -> Iterator[str | None]:
    """Yield the code of each error in an error object, or in a list of them; ``None`` for one without a code."""
    if isinstance(error, Mapping) and isinstance(error.get("data"), list):
        error = error["data"]
    for one in error if isinstance(error, list) else [error] if error else []:
        code = one.get("code") if isinstance(one, Mapping) else None
        yield code if isinstance(code, str) else None


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
