"""
Waiting for a job as a pure state machine: no clock, no sleep, no HTTP.

Sensor and trigger feed it what a look brought and the time, and do as it says. Because they share it, a poked,
a rescheduled and a deferred wait decide alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.polling import events

#: Seconds between two looks at the least, whatever the poke interval.
SHORTEST_WAIT = 0.1
#: Seconds to the next look after a failed one at the most, unless the answer asked for more.
LONGEST_WAIT_AFTER_FAILURE = 60.0

ON_REQUIRES_ACTION = ("fail", "wait", "return")


@dataclass(frozen=True)
class PollOutcome:
    """
    What to do after one look.

    :param wait: Seconds until the next look; meaningless once there is an event.
    :param event: How the wait ended, or ``None`` while it goes on.
    :param report: A line for the log, where there is something new.
    :param warn: Whether the line is a warning.
    """

    wait: float = 0.0
    event: events.Event | None = None
    report: str | None = None
    warn: bool = False

    def log_to(self, log: Any) -> None:
        """Write the line, where there is one, to a logger."""
        if self.report:
            (log.warning if self.warn else log.info)("%s", self.report)


class Poller:
    """
    Follows one job from look to look.

    :param job: The kind of job.
    :param ids: Which one.
    :param started: When the wait began, epoch seconds.
    :param deadline: When it ends at the latest, epoch seconds: wall-clock time outlives a move to another process.
    :param poke_interval: Seconds between two looks.
    :param max_consecutive_failures: Looks that may fail in a row before the wait is given up; ``None``: never
        give up before the deadline, not even where a look is refused for good.
    :param on_requires_action: ``"fail"``, ``"wait"`` or ``"return"`` when the job waits for its caller.
    :param status: The status seen last by whoever waited before.
    :param failures: The failures in a row seen last by whoever waited before.
    :param progress: The counts seen last by whoever waited before.
    """

    def __init__(
        self,
        job: JobSpec,
        ids: Mapping[str, str],
        *,
        started: float,
        deadline: float,
        poke_interval: float,
        max_consecutive_failures: int | None = 5,
        on_requires_action: str = "fail",
        status: str | None = None,
        failures: int = 0,
        progress: str = "",
    ) -> None:
        self.job = job
        self.ids = dict(ids)
        self.started = started
        self.deadline = deadline
        self.poke_interval = poke_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.on_requires_action = on_requires_action
        self.status = status
        self.failures = failures
        self.progress = progress

    def on_response(self, answer: Mapping[str, Any], now: float) -> PollOutcome:
        """Decide after a look that brought the job."""
        status = answer.get("status")
        if not isinstance(status, str) or not status:
            what = f"The answer is no {self.job.kind}: its status is {status!r}, a text was expected."
            return self.on_failure(PortkeyUnexpectedResponseError(what), now)
        self.failures = 0
        progress = self.job.progress(answer)
        changed = status != self.status
        before, self.status = self.status, status
        what = f"{self._named} {'went from ' + before + ' to' if before and changed else 'is'} {status}"
        what = f"{what} after {duration(now - self.started)}{': ' if progress else ''}{progress}."
        report = what if changed or progress != self.progress else None
        self.progress = progress
        if event := self._end(answer, status, now):
            return PollOutcome(event=event, report=report)
        known = status in self.job.active_statuses or status in self.job.action_required_statuses
        if changed and not known:
            report = f"{report} This provider does not know that status, and goes on waiting."
        return PollOutcome(self._wait(self.poke_interval, now), report=report, warn=not known)

    def on_failure(self, error: PortkeyRequestError, now: float) -> PollOutcome:
        """Decide after a look that failed."""
        self.failures += 1
        if now >= self.deadline:
            return PollOutcome(event=self._timed_out(now, error))
        limit = self.max_consecutive_failures
        if limit is not None:
            if is_final(error):
                return PollOutcome(event=self._event(events.REFUSED, str(error), error=error))
            if self.failures >= limit:
                looks = "1 look" if limit == 1 else f"{limit} looks in a row"
                message = f"Gave up waiting for {self._named}: {looks} failed. {self._left_running} Last: {error}"
                return PollOutcome(event=self._event(events.GAVE_UP, message, error=error))
        wait = self._wait(wait_after_failure(self.poke_interval, error), now)
        count = f"{self.failures} of {limit}" if limit else str(self.failures)
        return PollOutcome(wait, report=f"Look failed ({count} in a row), next one in {wait:.1f} s: {error}", warn=True)

    @property
    def _named(self) -> str:
        return self.job.describe(self.ids)

    @property
    def _left_running(self) -> str:
        return f"The {self.job.kind} was left as it is, its last known status is {self.status or 'unknown'}."

    def _wait(self, seconds: float, now: float) -> float:
        """The last look is at the deadline itself."""
        return max(min(seconds, self.deadline - now), SHORTEST_WAIT)

    def _end(self, answer: Mapping[str, Any], status: str, now: float) -> events.Event | None:
        took = f"{self._named} ended as {status} after {duration(now - self.started)}"
        if status in self.job.success_statuses:
            return self._event(events.ENDED_WELL, f"{took}.", answer=answer)
        if status in self.job.failure_statuses:
            reason = self.job.error_message(answer)
            message = f"{took}: {reason}" if reason else f"{took} and gave no reason."
            return self._event(events.ENDED_BADLY, message, answer=answer)
        if status in self.job.action_required_statuses:
            if self.on_requires_action == "return":
                return self._event(events.RETURNED, f"{self._named} waits for its caller ({status}).", answer=answer)
            if self.on_requires_action == "fail":
                message = (
                    f"{self._named} waits for its caller ({status}), which nobody here will answer. "
                    "Set on_requires_action='return' to hand it to the next task, or 'wait' if somebody else answers."
                )
                return self._event(events.ACTION_REQUIRED, message, answer=answer)
        return self._timed_out(now, None) if now >= self.deadline else None

    def _timed_out(self, now: float, error: PortkeyRequestError | None) -> events.Event:
        budget = duration(self.deadline - self.started)
        message = f"{self._named} had not ended within the timeout of {budget}. {self._left_running}"
        if error:
            message += f" The last {self.failures} looks failed: {error}"
        return self._event(events.TIMED_OUT, message)

    def _event(
        self,
        reason: str,
        message: str,
        *,
        answer: Mapping[str, Any] | None = None,
        error: PortkeyRequestError | None = None,
    ) -> events.Event:
        return events.make(self.job, reason, message[:1].upper() + message[1:], self.status, answer, error)


def check_wait(*, poke_interval: float, max_consecutive_failures: int, on_requires_action: str) -> None:
    """
    Check what a caller chose for a wait.

    :raises PortkeyInvalidArgumentError: naming the one that is wrong.
    """
    if on_requires_action not in ON_REQUIRES_ACTION:
        raise PortkeyInvalidArgumentError("on_requires_action", on_requires_action, "'fail', 'wait' or 'return'")
    check_failures(max_consecutive_failures)
    if not poke_interval >= 0:
        raise PortkeyInvalidArgumentError("poke_interval", poke_interval, "seconds, at least 0")


def check_failures(max_consecutive_failures: int) -> None:
    """
    Check how many looks may fail in a row.

    :raises PortkeyInvalidArgumentError: where it is no number of looks.
    """
    if isinstance(max_consecutive_failures, bool) or (
        not isinstance(max_consecutive_failures, int) or max_consecutive_failures < 1
    ):
        expected = "a whole number of at least 1"
        raise PortkeyInvalidArgumentError("max_consecutive_failures", max_consecutive_failures, expected)


def duration(seconds: float) -> str:
    """Return seconds as people write them: ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def wait_after_failure(interval: float, error: Exception) -> float:
    """Return the seconds until the look after one that failed: not long, unless the answer asked for more."""
    return max(min(interval, LONGEST_WAIT_AFTER_FAILURE), getattr(error, "retry_after", None) or 0.0)


def is_final(error: PortkeyRequestError) -> bool:
    """A refusal that the next look would only meet again: a redirect, or a 4xx that is not transient."""
    return not error.transient and error.status_code is not None and 300 <= error.status_code < 500
