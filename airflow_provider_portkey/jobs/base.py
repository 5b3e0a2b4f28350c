"""What a job is: something long that runs behind Portkey and has a status to look at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyJobFailed


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Job:
    """
    Declares one kind of job. A status in none of the four sets is unknown: neither an end nor a success.

    :param kind: One word for messages and events.
    :param path: Where one job is looked at, below the base URL, with ``{name}`` for each id.
    :param going: Statuses of a job that will move on by itself.
    :param ended_well: Statuses after which nothing changes any more and the result is there.
    :param ended_badly: Statuses after which nothing changes any more and something went wrong.
    :param waits_for_caller: Statuses of a job that moves on only when its caller acts.
    :param reasons: Fields in which a job that ended badly says why, the first that says something counts.
    :param bulky: Fields that are left out of XCom and events.
    :param cancel_path: Where a POST cancels the job.
    :param failure: The error that a bad end raises.
    """

    kind: str
    path: str
    going: frozenset[str]
    ended_well: frozenset[str]
    ended_badly: frozenset[str]
    waits_for_caller: frozenset[str] = frozenset()
    reasons: tuple[str, ...] = ()
    bulky: frozenset[str] = frozenset()
    cancel_path: str | None = None
    failure: type[PortkeyJobFailed] = PortkeyJobFailed

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the ids that say which job, in the order of the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    def named(self, ids: Mapping[str, str]) -> str:
        """Return how messages call the job: ``run 'run_1' (thread_id 'thread_1')``."""
        *context, own = self.id_names
        where = ", ".join(f"{name} {ids[name]!r}" for name in context)
        return f"{self.kind} {ids[own]!r}" + (f" ({where})" if where else "")

    def summary(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job without its bulky fields."""
        return {name: value for name, value in answer.items() if name not in self.bulky}

    def reason(self, answer: Mapping[str, Any]) -> str:
        """Return why the job ended badly, in its own words, or an empty text where it does not say."""
        for name in self.reasons:
            said = answer.get(name)
            if isinstance(said, Mapping):
                said = ": ".join(str(said[key]) for key in ("code", "reason", "message") if said.get(key))
            if said:
                return str(said)
        return ""
