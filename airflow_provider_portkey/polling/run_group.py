"""Waiting for many runs of a thread as a pure state machine, as ``poller`` is for one job."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.run import RUN, RUN_GROUP, TOKENS
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.jobs.values import cost_of, epoch_seconds, read_number
from airflow_provider_portkey.polling import events
from airflow_provider_portkey.polling.drivers import Get, Plan
from airflow_provider_portkey.polling.poller import WARN_AGAIN_AFTER, Poller, PollOutcome, created_at_of, is_final
from airflow_provider_portkey.polling.run_pages import RunPagePlanner
from airflow_provider_portkey.polling.wait_state import WaitState

#: Failed runs whose reasons a message names; more would hide the summary.
_REASONS_SHOWN = 5


@dataclass(frozen=True)
class PolledRuns:
    """
    The result of one poll for many runs.

    :param found: The runs by their ids.
    :param failed: Why single runs could not be polled, by their ids.
    """

    found: Mapping[str, Item]
    failed: Mapping[str, PortkeyRequestError]


class RunGroupPoller(Poller):
    """
    Follows many runs of one thread from poll to poll.

    :param thread_id: The thread.
    :param run_ids: The runs; ``None`` for the runs that are active at the first successful poll.
    :param state: The wait.
    :param wait_for: ``"all"`` runs, or ``"any"`` run that succeeds.
    :param max_failed_runs: How many runs may fail where all are waited for; ``None`` for any number.
    :param created_within: Seconds before the first poll within which an active run was created.
    :param known: The value of :meth:`to_dict` in the process that polled before.
    """

    def __init__(
        self,
        thread_id: str,
        run_ids: Sequence[str] | None,
        state: WaitState,
        *,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(RUN_GROUP, {"thread_id": thread_id}, state)
        known = known or {}
        run_ids = known.get("waiting", run_ids)
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        self._discovered = run_ids is not None
        # The runs that are waited for, in the order of their names, with the last known status of each.
        self._waiting: dict[str, str | None] = dict.fromkeys(run_ids or ())
        self._finished = Counter[str](known.get("finished", {}))
        self._failed: list[str] = list(known.get("failed", ()))
        self._reasons: list[str] = list(known.get("reasons", ()))
        self._action_required: list[str] = list(known.get("action_required", ()))
        self._usage = UsageSum({**dict.fromkeys(TOKENS, 0), **known.get("usage", {})})
        self._tokens = Counter[str](known.get("tokens_by_status", {}))
        #: By status, as fields of a sum: exact.
        self._cost = UsageSum(known.get("cost_by_status"))
        self._pages = RunPagePlanner(thread_id, known.get("pages"))
        # When each unknown status was last warned about, epoch seconds.
        self._warned: dict[str, float] = dict(known.get("warned", {}))

    @property
    def waiting(self) -> list[str]:
        """The runs that have not finished, as far as is known."""
        return list(self._waiting)

    def to_dict(self) -> dict[str, Any]:
        """Return what another process needs to continue, as plain data: ids and numbers, no run."""
        if not self._discovered:
            return {}
        return {
            "waiting": self.waiting,
            "finished": dict(self._finished),
            "failed": list(self._failed),
            "reasons": list(self._reasons),
            "action_required": list(self._action_required),
            "usage": self._usage.to_dict(),
            "tokens_by_status": dict(self._tokens),
            "warned": dict(self._warned),
            "pages": self._pages.starts,
        }

    def requests(self, now: float) -> Plan[PolledRuns]:
        """Plan pages of the thread's list, newest run first, and single requests for the runs that no page returns."""
        if self._discovered:
            pages = self._pages.find(self.waiting)
        else:
            pages = self._pages.find_active(RUN.terminal_statuses, now - self.created_within)
        found: dict[str, Item] = dict((yield from pages))
        failed: dict[str, PortkeyRequestError] = {}
        if single := [run_id for run_id in self._waiting if run_id not in found]:
            results = yield [Get(RUN.path, {**self.ids, "run_id": run_id}) for run_id in single]
            for run_id, result in zip(single, results, strict=False):  # drive() stops at the first failure
                if isinstance(result, PortkeyAuthenticationError):
                    raise result  # of the whole poll: the wait reads its connection again
                if isinstance(result, PortkeyRequestError):
                    failed[run_id] = result
                else:
                    found[run_id] = result
        return PolledRuns(found, failed)

    def on_response(self, response: Any, now: float) -> PollOutcome:
        """Decide after a poll whose result is a :class:`PolledRuns`."""
        polled: PolledRuns = response
        if not self._discovered:
            self._discovered = True
            self._waiting = dict.fromkeys(polled.found)
        errors = list(polled.failed.values())
        action_required: list[str] = []
        succeeded: dict[str, Item] = {}
        unknown: set[str] = set()
        for run_id in self.waiting:
            if run_id not in polled.found:
                continue
            run = polled.found[run_id]
            try:
                status = RUN.status_of({**self.ids, "run_id": run_id}, run)
            except PortkeyUnexpectedResponseError as error:
                errors.append(error)
                continue
            self._waiting[run_id] = status
            requires_action, policy = status in RUN.action_required_statuses, self.state.on_requires_action
            if status in RUN.terminal_statuses or (requires_action and policy == "return"):
                self._finish(run_id, run, status)
                if status not in RUN.failure_statuses:
                    succeeded[run_id] = run
            elif requires_action and policy == "fail":
                action_required.append(run_id)
            elif status not in RUN.active_statuses and not requires_action:
                unknown.add(status)
        event = self._group_event(succeeded, action_required, now)
        if errors and not event:
            # First an error that every further poll would meet, then the error with the longest ``Retry-After``.
            return self.on_failure(max(errors, key=lambda error: (is_final(error), error.retry_after or 0.0)), now)
        # The run that was created last may be the next one that finishes.
        created = filter(None, (created_at_of(polled.found.get(run_id, {})) for run_id in self._waiting))
        self.state = self.state.changed(failures=0, created_at=max(created, default=self.state.created_at))
        if now >= self.state.deadline and not event:
            event = self._timed_out(now, None)
        report, warn = self._report(unknown, now)
        if event:
            return PollOutcome(event=event, report=report if self._total else event["message"], warn=warn)
        return self._continue(self._interval(now), now, report=report, warn=warn)

    def _finish(self, run_id: str, run: Item, status: str) -> None:
        del self._waiting[run_id]
        self._finished[status] += 1
        usage = run.get("usage")
        self._usage.add(usage)
        if isinstance(usage, Mapping) and (total := read_number(usage.get("total_tokens"))) is not None:
            self._tokens[status] += int(total)
        self._cost.add({status: cost_of(usage)})
        if status in RUN.action_required_statuses:
            self._action_required.append(run_id)
        elif status in RUN.failure_statuses:
            self._failed.append(run_id)
            self.state = self.state.changed(status=self.state.status or status)
            if len(self._reasons) < _REASONS_SHOWN:
                reason = RUN.error_message(run)
                self._reasons.append(f"{run_id} {status}" + (f": {reason}" if reason else ", which gave no reason"))

    def _report(self, unknown: set[str], now: float) -> tuple[str | None, bool]:
        """Return the line for the log where the counts have changed, and whether the line is a warning."""
        before, progress = self.state.progress, self._progress()
        self.state = self.state.changed(progress=progress)
        due = {status for status in unknown if now - self._warned.get(status, -math.inf) >= WARN_AGAIN_AFTER}
        self._warned.update(dict.fromkeys(due, now))
        if progress == before and not due:
            return None, False
        report = f"runs of thread {self.ids['thread_id']!r} after {self._elapsed(now)}: {progress}."
        if due:
            statuses = ", ".join(sorted(due))
            report = f"{report} This provider does not know {statuses}, and continues to wait."
        return report, bool(due)

    def _group_event(
        self, succeeded: Mapping[str, Item], action_required: Sequence[str], now: float
    ) -> events.Event | None:
        took = f"after {self._elapsed(now)}: {self._progress()}."
        if self.wait_for == "any" and succeeded:
            first = min(succeeded, key=lambda run_id: _finished_at(succeeded[run_id]))
            message = f"{RUN.describe({**self.ids, 'run_id': first})} finished first {took}"
            return self._event(events.SUCCEEDED, message, response=self._summary(first))
        none_succeeded = self.wait_for == "any" and not self._waiting and self._failed
        limit = self.max_failed_runs if self.wait_for == "all" else None
        if none_succeeded or (limit is not None and len(self._failed) > limit):
            above = "" if none_succeeded else f", more than max_failed_runs={limit}"
            more = len(self._failed) - len(self._reasons)
            reasons = "; ".join(self._reasons) + (f"; and {more} more" if more else "")
            left = f" {self._left_running}" if self._waiting else ""
            message = f"{len(self._failed)} of {self._runs} failed{above}. {reasons}.{left}"
            return self._event(events.FAILED, message, response=self._summary())
        if action_required:
            first_described = RUN.describe({**self.ids, "run_id": action_required[0]})
            others = len(action_required) - 1
            also = f" (as {'does 1 other' if others == 1 else f'do {others} others'})" if others else ""
            message = (
                f"{first_described} requires action{also}, and this task takes none. Set "
                "on_requires_action='return' to count it as finished, or 'wait' if somebody else acts."
            )
            return self._event(events.ACTION_REQUIRED, message, response=self._summary())
        if self._waiting:
            return None
        message = f"{self._runs} finished {took}" if self._total else f"{self._runs}: there is no run to wait for."
        return self._event(events.SUCCEEDED, message, response=self._summary())

    @property
    def _total(self) -> int:
        return len(self._waiting) + self._finished.total()

    @property
    def _runs(self) -> str:
        return f"{self._total} run{'' if self._total == 1 else 's'} (thread_id {self.ids['thread_id']!r})"

    @property
    def _described(self) -> str:
        if not self._discovered:
            return f"the active runs (thread_id {self.ids['thread_id']!r})"
        return f"{len(self._waiting)} of {self._runs}"

    @property
    def _left_running(self) -> str:
        return f"Active runs were left running; last known: {self._progress() or 'nothing'}."

    def _status_counts(self) -> dict[str, int]:
        counts = self._finished + Counter(status or "unknown" for status in self._waiting.values())
        return dict(sorted(counts.items()))

    def _progress(self) -> str:
        return ", ".join(f"{status} {count}" for status, count in self._status_counts().items())

    def _summary(self, first: str | None = None) -> dict[str, Any]:
        return {
            **self.ids,
            "total": self._total,
            "status_counts": self._status_counts(),
            "failed_run_ids": list(self._failed),
            "action_required_run_ids": list(self._action_required),
            "first_completed_run_id": first,
            "usage": self._usage.to_dict(),
            "tokens_by_status": dict(self._tokens),
            "cost": cost_of(self._usage.to_dict()),
            "cost_by_status": self._cost.to_dict(),
        }


def _finished_at(run: Item) -> float:
    completed_at = epoch_seconds(run.get("completed_at"))
    return math.inf if completed_at is None else completed_at
