"""
Waiting for a job as a pure state machine: no clock, no sleep, no HTTP.

Sensor and trigger feed responses or failures and the time into the poller, and do what the outcome says. They share
the poller, so a poked, a rescheduled and a deferred wait decide alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_portkey.client.redaction import escape_unprintable
from airflow_provider_portkey.exceptions import (
    PortkeyConnectionInvalidError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.jobs.values import read_timestamp
from airflow_provider_portkey.polling import events
from airflow_provider_portkey.polling.drivers import Get, Plan
from airflow_provider_portkey.polling.interval import interval_after_failure, poll_interval, wait_after_failure
from airflow_provider_portkey.polling.wait_state import WaitState

#: Seconds after which the same unknown status is warned about again.
WARN_AGAIN_AFTER = 3600.0
#: The least seconds between two polls, whatever the poll interval.
MIN_WAIT = 0.1
#: Characters of a status that a message shows; the longest known one has 33.
_MAX_STATUS_SHOWN = 100


class PollOutcome(NamedTuple):
    """
    What to do after one poll.

    :param wait: Seconds until the next poll; meaningless once there is an event.
    :param event: How the wait ended, or ``None`` while the wait continues.
    :param report: A line for the log, where there is something new.
    :param warn: Whether the line is a warning.
    """

    wait: float = 0.0
    event: events.Event | None = None
    report: str | None = None
    warn: bool = False

    def log_to(self, log: Any) -> None:
        """Write the report, where there is one, to a logger."""
        if self.report:
            (log.warning if self.warn else log.info)("%s", self.report)


class Poller:
    """
    Follows one job from poll to poll.

    :param job: The kind of job.
    :param ids: The job's ids by name.
    :param state: The wait; replaced after each poll.
    """

    def __init__(self, job: JobSpec, ids: Mapping[str, str], state: WaitState) -> None:
        self.job = job
        self.ids = dict(ids)
        self.state = state

    def requests(self, now: float) -> Plan[Any]:
        """
        Plan the requests of one poll; the result is for :meth:`on_response`.

        :param now: Epoch seconds.
        """
        return (yield Get(self.job.path, self.ids))

    def on_response(self, response: Mapping[str, Any], now: float) -> PollOutcome:
        """Decide after a poll whose response is the job."""
        try:
            status = self.job.status_of(self.ids, response)
        except PortkeyUnexpectedResponseError as error:
            return self.on_failure(error, now)
        before, progress = self.state, self.job.progress(response)
        created_at = before.created_at or created_at_of(response)
        changed = status != before.status
        news = changed or progress != before.progress
        if news or before.failures or created_at != before.created_at:
            self.state = before.changed(status=status, progress=progress, failures=0, created_at=created_at)
        if event := self._terminal_event(response, status, now):
            partial = status in self.job.partial_statuses
            report = self._progress_report(before, now) if news or partial else None
            return PollOutcome(
                event=event, report=f"{report} Some of its requests failed." if partial else report, warn=partial
            )
        known = status in self.job.active_statuses or status in self.job.action_required_statuses
        due = not known and (changed or before.warned_at is None or now - before.warned_at >= WARN_AGAIN_AFTER)
        report = self._progress_report(before, now) if news or due else None
        if due:
            report = f"{report} This provider does not know that status, and continues to wait."
        if due or (known and before.warned_at is not None):
            self.state = self.state.changed(warned_at=now if due else None)
        return self._continue(self._interval(now), now, report=report, warn=not known)

    def _progress_report(self, before: WaitState, now: float) -> str:
        """Return the line for the log about a poll; made only where it is logged, for most polls see nothing new."""
        status, progress = _shown(self.state.status), self.state.progress
        is_change = before.status and self.state.status != before.status
        transition = f"changed from {_shown(before.status)} to" if is_change else "is"
        report = f"{self._described} {transition} {status} after {self._elapsed(now)}"
        return f"{report}: {progress}." if progress else f"{report}."

    def on_failure(self, error: events.PollError, now: float) -> PollOutcome:
        """Decide after a poll that failed, or that could not be sent."""
        self.state = self.state.changed(failures=self.state.failures + 1)
        if now >= self.state.deadline:
            return PollOutcome(event=self._timed_out(now, error))
        failures, limit = self.state.failures, self.state.max_consecutive_failures
        if limit is not None:
            if isinstance(error, PortkeyConnectionInvalidError):
                return PollOutcome(event=self._event(events.CONNECTION_INVALID, str(error), error=error))
            if is_final(error):
                return PollOutcome(event=self._event(events.REFUSED, str(error), error=error))
            if failures >= limit:
                polls = "1 poll" if limit == 1 else f"{limit} consecutive polls"
                message = f"Gave up waiting for {self._described}: {polls} failed. {self._left_running} Last: {error}"
                return PollOutcome(event=self._event(events.GAVE_UP, message, error=error))
        interval = interval_after_failure(self.state, now, self._jitter(now))
        outcome = self._continue(wait_after_failure(interval, error), now, warn=True)
        return outcome._replace(report=failed_poll(failures, limit, outcome.wait, error))

    def _interval(self, now: float) -> float:
        return poll_interval(self.state, now, self._jitter(now))

    def _jitter(self, now: float) -> float:
        """Return a number from 0 up to 1: another one for each job and poll, the same one in each process."""
        if self.state.poll_interval is not None:
            return 0.0  # a fixed interval has none
        return zlib.crc32(f"{self.ids}{now}".encode()) / 2**32

    def _continue(self, seconds: float, now: float, *, report: str | None = None, warn: bool = False) -> PollOutcome:
        """Schedule the next poll; the last one is at the deadline itself."""
        wait = max(min(seconds, self.state.deadline - now), MIN_WAIT)
        self.state = self.state.changed(next_poll_at=now + wait)
        return PollOutcome(wait, report=report, warn=warn)

    @property
    def _described(self) -> str:
        return self.job.describe(self.ids)

    @property
    def _left_running(self) -> str:
        return f"The {self.job.kind} was left running; its last known status is {_shown(self.state.status)}."

    def _elapsed(self, now: float) -> str:
        return duration(now - self.state.started_at)

    def _terminal_event(self, response: Mapping[str, Any], status: str, now: float) -> events.Event | None:
        if status in self.job.terminal_statuses:
            finished = f"{self._described} finished as {status} after {self._elapsed(now)}"
            if status in self.job.success_statuses:
                return self._event(events.SUCCEEDED, f"{finished}.", response=response)
            reason = self.job.error_message(response)
            message = f"{finished}: {reason}" if reason else f"{finished} and gave no reason."
            return self._event(events.FAILED, message, response=response)
        if status in self.job.action_required_statuses:
            if self.state.on_requires_action == "return":
                return self._event(events.RETURNED, f"{self._described} requires action ({status}).", response=response)
            if self.state.on_requires_action == "fail":
                message = (
                    f"{self._described} requires action ({status}), and this task takes none. Set "
                    "on_requires_action='return' to hand the job to the next task, or 'wait' if somebody else acts."
                )
                return self._event(events.ACTION_REQUIRED, message, response=response)
        return self._timed_out(now, None) if now >= self.state.deadline else None

    def _timed_out(self, now: float, error: events.PollError | None) -> events.Event:
        timeout = duration(self.state.deadline - self.state.started_at)
        message = f"{self._described} had not finished within the timeout of {timeout}. {self._left_running}"
        if error:
            failures = self.state.failures
            message += f" The last {'poll' if failures == 1 else f'{failures} polls'} failed: {error}"
        return self._event(events.TIMED_OUT, message)

    def _event(
        self,
        reason: str,
        message: str,
        *,
        response: Mapping[str, Any] | None = None,
        error: events.PollError | None = None,
    ) -> events.Event:
        sentence = message[:1].upper() + message[1:]
        return events.make_event(
            self.job,
            reason,
            sentence,
            self.state.status,
            response,
            error,
            include_fields=self.state.include_fields,
            max_bytes=self.state.max_bytes,
        )


def _shown(status: str | None) -> str:
    return escape_unprintable(status[:_MAX_STATUS_SHOWN]) if status else "unknown"


def created_at_of(job: Mapping[str, Any]) -> float | None:
    """Return when a job was created, epoch seconds, ``None`` where its server does not say."""
    created_at = read_timestamp(job.get("created_at"))
    return created_at.timestamp() if created_at else None


def failed_poll(failures: int, limit: int | None, wait: float, error: object) -> str:
    """Return the log line of a poll that failed: ``poll failed (1 of 5), next poll in 10 s: ...``."""
    count = f"{failures} of {limit}" if limit else str(failures)
    return f"poll failed ({count}), next poll in {round(wait, 1):g} s: {error}"


def duration(seconds: float) -> str:
    """Return seconds as people write them: ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def is_final(error: events.PollError) -> bool:
    """Return whether the next poll would fail too: after a redirect, a final 4xx, or a list that repeats itself."""
    if not isinstance(error, PortkeyRequestError):
        return True
    return not error.transient and error.status_code is not None and 300 <= error.status_code < 500
