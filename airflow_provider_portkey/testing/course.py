"""What every kind of job has in common: an id, a beginning and a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from airflow_provider_portkey.testing.script import Advance, Script, Statuses

Start: TypeAlias = Literal["now", "first-poll"]


class Course(TypedDict, total=False):
    """What a test may say about the way of any job.

    :param statuses: what it goes through: one status, or several, each with its seconds after the start:
        ``[("queued", 0), ("completed", 4)]``. Words that the API does not know are fine.
    :param advance: ``time`` moves by the clock; ``per_poll`` moves one status at each request for this job,
        the first of which sees the first status.
    :param start: whether its seconds count from now or from the first request for this job.
    :param created_at: in seconds since the epoch; now where not given. Its other moments count from it.
    :param fields: whatever is to stand in the job's object instead of the generated values.
    """

    statuses: Statuses
    advance: Advance
    start: Start
    created_at: int | None
    fields: Mapping[str, Any] | None


@dataclass(kw_only=True)
class ScriptedJob:
    """One job of any kind."""

    id: str
    created_at: int
    script: Script
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Where it stands, as of the last look."""
        return self.script.status

    def reached_at(self, status: str) -> int | None:
        """Say when a status was first reached, in seconds since the epoch; ``None`` for never."""
        seconds = self.script.reached.get(status)
        return None if seconds is None else self.created_at + int(seconds)


def begin(
    now: float,
    *,
    statuses: Statuses = "completed",
    advance: Advance = "time",
    start: Start = "now",
    created_at: int | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Turn a :class:`Course` into the parameters of a :class:`ScriptedJob`.

    :param now: seconds since the epoch.
    :raises ValueError: for a script that makes no sense.
    """
    if start not in ("now", "first-poll"):
        raise ValueError(f"start has to be 'now' or 'first-poll', not {start!r}")
    return {
        "created_at": int(now) if created_at is None else created_at,
        "script": Script(statuses, advance=advance, started=now if start == "now" else None),
        "fields": dict(fields or {}),
    }
