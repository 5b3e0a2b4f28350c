"""What a job is: something long that runs behind Portkey and has a status to look at."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyRemoteJobFailedError

#: The fields that say what a status means.
STATUS_SETS = ("active_statuses", "success_statuses", "failure_statuses", "action_required_statuses")
#: Of a list of reasons, so many are worth reading in a log.
_REASONS_SHOWN = 3


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class JobSpec:
    """
    Declares one kind of job. A status in none of the four sets is unknown: neither an end nor a success.

    :param kind: One word for messages and events.
    :param path: Where one job is looked at, below the base URL, with ``{name}`` for each id.
    :param active_statuses: Statuses of a job that will move on by itself.
    :param success_statuses: Statuses after which nothing changes any more and the result is there.
    :param failure_statuses: Statuses after which nothing changes any more and something went wrong.
    :param action_required_statuses: Statuses of a job that moves on only when its caller acts.
    :param error_fields: Fields in which a job that ended badly says why, the first that says something counts.
    :param excluded_fields: Fields that are left out of XCom and events.
    :param progress_field: A field with counts that move while the job goes on.
    :param create_path: Where a POST makes a new job.
    :param cancel_path: Where a POST cancels the job.
    :param metric: The Airflow metric that the tokens are added to which the job used, once it has ended.
    :param failure_exception: The error that a bad end raises.
    """

    kind: str
    path: str
    active_statuses: Collection[str]
    success_statuses: Collection[str]
    failure_statuses: Collection[str]
    action_required_statuses: Collection[str] = ()
    error_fields: tuple[str, ...] = ()
    excluded_fields: Collection[str] = ()
    progress_field: str | None = None
    create_path: str | None = None
    cancel_path: str | None = None
    metric: str | None = None
    failure_exception: type[PortkeyRemoteJobFailedError] = PortkeyRemoteJobFailedError

    def __post_init__(self) -> None:
        """
        Check a declaration; statuses may be given as any collection of texts.

        :raises ValueError: naming what is wrong.
        """
        for name in STATUS_SETS:
            statuses = getattr(self, name)
            if isinstance(statuses, str):
                raise ValueError(f"Job {self.kind!r}: {name} must be a collection of statuses, not one text.")
            object.__setattr__(self, name, frozenset(statuses))
        object.__setattr__(self, "error_fields", tuple(self.error_fields))
        object.__setattr__(self, "excluded_fields", frozenset(self.excluded_fields))
        known = [status for name in STATUS_SETS for status in getattr(self, name)]
        if twice := sorted({status for status in known if known.count(status) > 1}):
            raise ValueError(f"Job {self.kind!r}: a status can mean one thing only, not two: {', '.join(twice)}.")
        if not self.success_statuses or not self.failure_statuses:
            raise ValueError(f"Job {self.kind!r} must have a status that ended well and one that ended badly.")
        if not self.path.startswith("/") or not self.id_names:
            expected = "a path that begins with '/' and has a {name} for the job's id"
            raise ValueError(f"Job {self.kind!r}: path={self.path!r} is not {expected}.")

    @cached_property
    def terminal_statuses(self) -> Collection[str]:
        """Statuses after which nothing changes any more, well or badly."""
        return frozenset((*self.success_statuses, *self.failure_statuses))

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the ids that say which job, in the order of the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    def to_dict(self) -> dict[str, Any]:
        """Return the declaration in plain data, of which ``JobSpec(**data)`` makes it again, its error class left out."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "failure_exception"}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in plain.items()}

    def describe(self, ids: Mapping[str, str]) -> str:
        """Return how messages call the job: ``run 'run_1' (thread_id 'thread_1')``."""
        *context, own = self.id_names
        where = ", ".join(f"{name} {ids[name]!r}" for name in context)
        return f"{self.kind} {ids[own]!r}" + (f" ({where})" if where else "")

    def summary(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job without its bulky fields."""
        return {name: value for name, value in answer.items() if name not in self.excluded_fields}

    def error_message(self, answer: Mapping[str, Any]) -> str:
        """Return why the job ended badly, in its own words, or an empty text where it does not say."""
        return next((text for name in self.error_fields if (text := _said(answer.get(name)))), "")

    def progress(self, answer: Mapping[str, Any]) -> str:
        """Return the counts of a job that shows its progress: ``completed 120, failed 3, total 200``."""
        counts = answer.get(self.progress_field) if self.progress_field else None
        if not isinstance(counts, Mapping):
            return ""
        return ", ".join(f"{name} {counts[name]}" for name in sorted(counts) if isinstance(counts[name], int))


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        if isinstance(value.get("data"), list):
            value = value["data"]
        else:
            parts = [str(value[key]) for key in ("code", "reason", "message") if value.get(key)]
            line = value.get("line")
            return ": ".join(parts) + (f" (line {line})" if line else "")
    if isinstance(value, list):
        shown = [text for text in map(_said, value[:_REASONS_SHOWN]) if text]
        more = len(value) - _REASONS_SHOWN
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
    return str(value) if value else ""
