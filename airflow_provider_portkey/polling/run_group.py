"""Waiting for many runs of a thread as a pure state machine, as ``polling`` is for one job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.run import RUN, RUNS, TOKENS, tokens_of
from airflow_provider_portkey.polling import events
from airflow_provider_portkey.polling.poller import Poller, PollOutcome, duration, is_final
from airflow_provider_portkey.polling.run_pages import Pages, RunPagePlanner

#: Bad ends whose reasons a message tells: more than a handful nobody reads.
_REASONS_TOLD = 5
_ENDED = RUN.terminal_statuses


class RunGroupPoller(Poller):
    """
    Follows many runs of one thread from look to look.

    At each look it says by :meth:`pages` which pages to ask for, by :meth:`unanswered` which single runs beside them,
    and takes all that came in :meth:`on_poll`.

    :param thread_id: The thread.
    :param run_ids: The runs; ``None`` for those that are active at the first look that succeeds.
    :param wait_for: ``"all"`` runs, or ``"any"`` run that ends well.
    :param max_failed_runs: How many runs may end badly where all are waited for; ``None`` for any number.
    :param created_within: Seconds before the first look in which an active run was created.
    :param known: What :meth:`to_dict` returned to whoever waited before.
    :param wait: ``started``, ``deadline`` and the other arguments of :class:`Poller`.
    """

    def __init__(
        self,
        thread_id: str,
        run_ids: Sequence[str] | None,
        *,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        known: Mapping[str, Any] | None = None,
        **wait: Any,
    ) -> None:
        super().__init__(RUNS, {"thread_id": thread_id}, **wait)
        known = known or {}
        run_ids = known.get("waiting", run_ids)
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        self._discovered = run_ids is not None
        # The runs that are waited for, in the order they were named in, with the status each had last.
        self._waiting: dict[str, str | None] = dict.fromkeys(run_ids or ())
        self._ended = Counter[str](known.get("ended", {}))
        self._bad: list[str] = list(known.get("failure_statuses", ()))
        self._reasons: list[str] = list(known.get("reasons", ()))
        self._handed_over: list[str] = list(known.get("requires_action", ()))
        self._usage = {name: int(known.get("usage", {}).get(name, 0)) for name in TOKENS}
        self._tokens = Counter[str](known.get("tokens_by_status", {}))
        self._roll_call = RunPagePlanner(known.get("pages"))
        self._warned: set[str] = set()

    @property
    def waiting(self) -> list[str]:
        """The runs that have not ended, as far as is known."""
        return list(self._waiting)

    def to_dict(self) -> dict[str, Any]:
        """Return what another process needs to go on, in plain data: ids and numbers, no run."""
        if not self._discovered:
            return {}
        return {
            "waiting": self.waiting,
            "ended": dict(self._ended),
            "failure_statuses": list(self._bad),
            "reasons": list(self._reasons),
            "requires_action": list(self._handed_over),
            "usage": dict(self._usage),
            "tokens_by_status": dict(self._tokens),
            "pages": self._roll_call.starts,
        }

    def pages(self, now: float) -> Pages:
        """Say which pages of the thread's list, newest run first and a hundred on a page, the look should ask for."""
        if self._discovered:
            return self._roll_call.look(self.waiting)
        return self._roll_call.discover(_ENDED, now - self.created_within)

    def unanswered(self, found: Collection[str]) -> list[str]:
        """Return the runs that the look should ask for one by one."""
        return [run_id for run_id in self._waiting if run_id not in found]

    def on_poll(self, found: Mapping[str, Item], failed: Mapping[str, PortkeyRequestError], now: float) -> PollOutcome:
        """
        Decide after a look that brought runs.

        :param found: The runs by their ids.
        :param failed: Why single runs could not be looked at, by their ids.
        """
        if not self._discovered:
            self._discovered = True
            self._waiting = dict.fromkeys(found)
        errors = list(failed.values())
        action_required: list[str] = []
        well: list[Item] = []
        unknown: set[str] = set()
        for run_id in self.waiting:
            if run_id not in found:
                continue
            run, status = found[run_id], found[run_id].get("status")
            if not isinstance(status, str) or not status:
                what = f"{RUN.describe({**self.ids, 'run_id': run_id})} has no status but {status!r}; expected a text."
                errors.append(PortkeyUnexpectedResponseError(what[:1].upper() + what[1:]))
                continue
            self._waiting[run_id] = status
            if status in _ENDED or (status in RUN.action_required_statuses and self.on_requires_action == "return"):
                self._finish(run_id, run, status)
                if status not in RUN.failure_statuses:
                    well.append(run)
            elif status in RUN.action_required_statuses and self.on_requires_action == "fail":
                action_required.append(run_id)
            elif status not in RUN.active_statuses and status not in RUN.action_required_statuses:
                unknown.add(status)
        event = self._outcome(well, action_required, now)
        if errors and not event:
            # One that no further look would change first, then the one that asks for the longest pause.
            return self.on_failure(max(errors, key=lambda error: (is_final(error), error.retry_after or 0.0)), now)
        self.failures = 0
        if now >= self.deadline and not event:
            event = self._timed_out(now, None)
        report, warn = self._report(unknown, now)
        if event and not self._total:
            report = event["message"]
        return PollOutcome(self._wait(self.poke_interval, now), event, report, warn)

    def _finish(self, run_id: str, run: Item, status: str) -> None:
        del self._waiting[run_id]
        self._ended[status] += 1
        usage = run.get("usage")
        for name, tokens in zip(TOKENS, tokens_of(run), strict=True):
            self._usage[name] += tokens
        if isinstance(usage, Mapping) and isinstance(total := usage.get("total_tokens"), int):
            self._tokens[status] += total
        if status in RUN.action_required_statuses:
            self._handed_over.append(run_id)
        elif status in RUN.failure_statuses:
            self._bad.append(run_id)
            self.status = self.status or status
            if len(self._reasons) < _REASONS_TOLD:
                reason = RUN.error_message(run)
                self._reasons.append(f"{run_id} {status}" + (f": {reason}" if reason else ", which gave no reason"))

    def _report(self, unknown: set[str], now: float) -> tuple[str | None, bool]:
        """Return the line for the log where the counts have changed, and whether it is a warning."""
        before, self.progress = self.progress, self._counted()
        new, self._warned = unknown - self._warned, self._warned | unknown
        if self.progress == before:
            return None, False
        report = f"Runs of thread {self.ids['thread_id']!r} after {duration(now - self.started)}: {self.progress}."
        if new:
            report = f"{report} This provider does not know {', '.join(sorted(new))}, and goes on waiting."
        return report, bool(new)

    def _outcome(self, well: Sequence[Item], action_required: Sequence[str], now: float) -> events.Event | None:
        took = f"after {duration(now - self.started)}: {self._counted()}."
        if self.wait_for == "any" and well:
            first = min(well, key=_ended_at)
            message = f"{RUN.describe({**self.ids, 'run_id': first['id']})} ended first {took}"
            return self._event(events.ENDED_WELL, message, answer=self._summary(first["id"]))
        none_well = self.wait_for == "any" and not self._waiting and self._bad
        too_many = self.wait_for == "all" and self.max_failed_runs is not None
        if none_well or (too_many and len(self._bad) > (self.max_failed_runs or 0)):
            limit = "" if none_well else f", more than max_failed_runs={self.max_failed_runs}"
            more = len(self._bad) - len(self._reasons)
            reasons = "; ".join(self._reasons) + (f"; and {more} more" if more else "")
            left = f" {self._left_running}" if self._waiting else ""
            what = f"{len(self._bad)} of {self._runs} ended badly{limit}. {reasons}.{left}"
            return self._event(events.ENDED_BADLY, what, answer=self._summary())
        if action_required:
            first_named = RUN.describe({**self.ids, "run_id": action_required[0]})
            others = len(action_required) - 1
            also = f" (as {'does 1 other' if others == 1 else f'do {others} others'})" if others else ""
            message = (
                f"{first_named} waits for its caller{also}, which nobody here will answer. Set "
                "on_requires_action='return' to count it as finished, or 'wait' if somebody else answers."
            )
            return self._event(events.ACTION_REQUIRED, message, answer=self._summary())
        if self._waiting:
            return None
        message = f"{self._runs} ended {took}" if self._total else f"{self._runs}: there is no run to wait for."
        return self._event(events.ENDED_WELL, message, answer=self._summary())

    @property
    def _total(self) -> int:
        return len(self._waiting) + self._ended.total()

    @property
    def _runs(self) -> str:
        return f"{self._total} run{'' if self._total == 1 else 's'} (thread_id {self.ids['thread_id']!r})"

    @property
    def _named(self) -> str:
        if not self._discovered:
            return f"the active runs (thread_id {self.ids['thread_id']!r})"
        return f"{len(self._waiting)} of {self._runs}"

    @property
    def _left_running(self) -> str:
        return f"Those that go on were left as they are; last known: {self._counted() or 'nothing'}."

    def _counts(self) -> dict[str, int]:
        counts = self._ended + Counter(status or "unknown" for status in self._waiting.values())
        return dict(sorted(counts.items()))

    def _counted(self) -> str:
        return ", ".join(f"{status} {count}" for status, count in self._counts().items())

    def _summary(self, first: str | None = None) -> dict[str, Any]:
        return {
            **self.ids,
            "total": self._total,
            "counts": self._counts(),
            "failure_statuses": list(self._bad),
            "requires_action": list(self._handed_over),
            "first": first,
            "usage": dict(self._usage),
            "tokens_by_status": dict(self._tokens),
        }


def check_group(*, wait_for: str, max_failed_runs: int | None, created_within: float) -> None:
    """
    Check what a caller chose for a wait for many runs.

    :raises PortkeyInvalidArgumentError: naming the one that is wrong.
    """
    if wait_for not in ("all", "any"):
        raise PortkeyInvalidArgumentError("wait_for", wait_for, "'all' or 'any'")
    if max_failed_runs is not None and (
        isinstance(max_failed_runs, bool) or not isinstance(max_failed_runs, int) or max_failed_runs < 0
    ):
        raise PortkeyInvalidArgumentError("max_failed_runs", max_failed_runs, "a whole number of at least 0, or None")
    if not created_within > 0:
        raise PortkeyInvalidArgumentError("created_within", created_within, "seconds, more than 0")


def _ended_at(run: Item) -> float:
    moment = run.get("completed_at")
    return moment if isinstance(moment, int | float) else float("inf")
