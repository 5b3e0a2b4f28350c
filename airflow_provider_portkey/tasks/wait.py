"""Waiting for any kind of job in three modes, on one decision: the base of sensors, and of operators that wait."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyConnectionInvalidError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyRemoteJobError,
    PortkeyRequestError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES, PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.jobs.spec import JobSpec
    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.state.task import TaskState
    from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

#: Seconds that Airflow's own time-out of a deferral comes after the trigger's deadline: the trigger's event says what
#: the last poll saw, so it should win where the triggerer is alive.
_BACKSTOP = 120.0
#: The least seconds of an adaptive interval where each poll is a process of its own.
_MIN_RESCHEDULE_INTERVAL = 5.0
#: Seconds within which Airflow's scheduler has noticed that a process has ended.
_NOTICED_AFTER = 2.0
#: The least seconds that Airflow sleeps where no poll is scheduled.
_MIN_SLEEP = 0.1
#: What the process of a rescheduled poll hands to the next one, of the state of the wait.
_CARRIED = ("status", "progress", "warned_at", "created_at")
#: What the events of outlet assets have of a job.
_TO_OUTLETS = ("id", "status", "model", "usage", "cost", "request_counts", "total", "status_counts")
_SKIPPED = "Skipped instead of failed"


class BasePortkeyWaitOperator(PortkeyTaskMixin, BaseSensorOperator):
    """
    Wait until a job has finished. A subclass names the kind of job.

    Poked, rescheduled and deferred alike the task fails with the job's own reason where the job failed (no retry but
    for failures that pass), with a time-out at ``timeout`` (no retry), and with an error that Airflow retries where too
    many consecutive polls failed. With ``soft_fail`` or ``never_fail`` each of these skips the task, in every mode.
    With ``silent_fail`` failed polls never end the wait.

    :param portkey_conn_id: The Airflow connection (templated).
    :param deferrable: Wait on the triggerer after one poll, without a worker.
    :param max_consecutive_failures: Polls that may fail in a row before the wait is given up (templated). A refusal
        that will not change (401, 403, 404 and the like) ends the wait at once.
    :param cancel_on_kill: Cancel the job when the task is killed or marked. Off, because a sensor did not start it.
    :param retryable_error_codes: Codes of a failed job after which Airflow retries the task: a list, also as a string;
        ``None`` for those of the kind of job, an empty list for none (templated).
    :param poke_interval: Seconds between two polls. ``None``: adaptive in every mode, a tenth of the time since the
        job was created, at least 1 second (5 with ``mode="reschedule"``), with jitter. With Airflow's
        ``exponential_backoff`` it is the least of an adaptive interval, and Airflow's ``max_wait`` the most.
    :param max_poll_interval: The most seconds of an adaptive interval (templated).
    :param kwargs: The arguments of Airflow's sensors, such as ``timeout`` and ``mode``.
    :raises PortkeyInvalidArgumentError: naming the argument that is wrong.
    """

    template_fields: Collection[str] = (
        *PortkeyTaskMixin.template_fields,
        "max_poll_interval",
        "max_consecutive_failures",
        "retryable_error_codes",
    )
    job: ClassVar[JobSpec]
    #: What to do when the job requires action; an argument where a kind of job can.
    on_requires_action = "fail"
    #: What to do when the job has failed; an argument where a job that failed can be a result.
    on_failed = "fail"
    #: Excluded fields that the task returns, and the limit for them; arguments where the task returns one job.
    include_fields: Sequence[str] | str | None = None
    max_bytes: int = XCOM_MAX_BYTES
    #: Whether another process of the task cannot continue without what this one knows.
    _needs_wait_state = False
    #: The job as a request of this process has just returned it, which serves as the first poll.
    _first_response: Mapping[str, Any] | None = None

    def __init__(
        self,
        *,
        portkey_conn_id: str = "portkey_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_consecutive_failures: int = 5,
        cancel_on_kill: bool = False,
        retryable_error_codes: Collection[str] | str | None = None,
        poke_interval: float | timedelta | None = None,
        max_poll_interval: float | timedelta = 60.0,
        **kwargs: Any,
    ) -> None:
        # Airflow takes no None.
        super().__init__(**kwargs if poke_interval is None else {**kwargs, "poke_interval": poke_interval})
        # Another number that is set later on is a fixed interval.
        self._unset_poke_interval = self.poke_interval if poke_interval is None else None
        self.max_poll_interval: float = (
            max_poll_interval.total_seconds() if isinstance(max_poll_interval, timedelta) else max_poll_interval
        )
        self.retryable_error_codes = retryable_error_codes
        self.portkey_conn_id = portkey_conn_id
        self.deferrable = deferrable
        self.max_consecutive_failures = max_consecutive_failures
        self.cancel_on_kill = cancel_on_kill
        self._validate()

    @property
    def _job_ids(self) -> dict[str, str]:
        """Which job, by the attributes that have the names of the job's ids."""
        return {name: getattr(self, name) for name in self.job.id_names}

    def execute(self, context: Context) -> Any:
        """
        Wait, and return the job without its excluded fields.

        :raises PortkeyRemoteJobFailedError: where the job failed for good.
        :raises PortkeyRemoteJobFailedTransientlyError: where the failure passes; Airflow retries.
        :raises PortkeyWaitTimeoutError: where the job had not finished in time.
        :raises PortkeyPollingGaveUpError: where too many consecutive polls failed.
        """
        with self._skipping():
            self._begin(context)
            self._poller = self._start(context)
        if self.deferrable:
            return self._poll_or_defer(context)
        with self._skipping():
            return super().execute(context)

    def _poll_or_defer(self, context: Context) -> Any:  # noqa: RET503 - defer() does not return
        """Return the job where it has finished, and continue to wait on the triggerer otherwise."""
        with self._skipping():
            outcome = self._poll()
            if outcome.event:
                return self._conclude(context, outcome.event)
        state = self._state_on_the_triggerer()
        backstop = timedelta(seconds=max(state.deadline - time.time(), 0) + _BACKSTOP)
        trigger = self._new_trigger(
            wait_state=state.to_dict(),
            portkey_conn_id=self.portkey_conn_id,
            cancel_on_kill=self.cancel_on_kill,
            trace_id=self._trace_id,
            task_metadata=self._task_metadata,
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def _state_on_the_triggerer(self) -> WaitState:
        """
        Return the wait as the trigger continues it.

        Airflow 3 can fail a task that resumes before its scheduler has noticed the end of the process that deferred,
        which lasts up to ``[workers] min_heartbeat_interval`` (measured on 3.3 with the LocalExecutor: 5 of 48
        waits for jobs of 2 s failed; with this pause none).
        """
        state = self._poller.state
        if state.poll_interval is not None:
            return state
        lasts = conf.getfloat("workers", "min_heartbeat_interval", fallback=0.0)
        noticed_at = time.time() + lasts + _NOTICED_AFTER if lasts else 0.0  # Airflow 2 has no such interval
        return replace(state, next_poll_at=max(state.next_poll_at, min(noticed_at, state.deadline)))

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once; after a failed poll again and again until one succeeds or the wait is given up."""
        with self._skipping():
            self._begin(context)
            before = self._known()
            outcome = self._poll()
            while outcome.event is None and self._poller.state.failures:
                time.sleep(outcome.wait)
                outcome = self._poll()
            if outcome.event:
                return PokeReturnValue(True, self._conclude(context, outcome.event))
        if self._is_polled_by_processes and (known := self._known()) != before:
            state = self._wait_state_of(context)
            if state.has_store or self._needs_wait_state:
                state.write({"try_number": state.try_number, **known})
        return PokeReturnValue(False)

    def _get_next_poke_interval(self, *_: Any) -> float:
        """Return the seconds up to the next poll, which the poller has scheduled, in poke and in reschedule mode."""
        wait = self._poller.state.next_poll_at - time.time()
        return wait if wait > 0 else max(self.poke_interval, _MIN_SLEEP)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Return the job, or raise the error that the trigger's event stands for."""
        with self._skipping():
            self._begin(context)
            self.hook.warns = False  # the process that deferred did
            job = self._conclude(context, event)
        self.log.info("%s", event["message"])
        return job

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral. A skip keeps its reason, which Airflow itself would replace."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skipped:
            reason = skipped.__cause__
            if isinstance(reason, AirflowSkipException):
                raise AirflowSkipException(*reason.args) from reason.__cause__
            if reason is None or isinstance(reason, PortkeyError):
                raise
            raise AirflowSkipException(f"{_SKIPPED}: {reason}") from reason  # the trigger itself failed or timed out

    def on_kill(self) -> None:
        """Cancel the job, if that was requested, when the task is killed on the worker."""
        if self.cancel_on_kill and (ids := self._job_ids):
            if self.job.cancel_path is None:
                self.log.warning("%s was left running: it cannot be cancelled.", self.job.describe(ids))
                return
            self.log.info("Cancelling %s, because the task was killed.", self.job.describe(ids))
            self.hook.cancel_job(self.job, ids)

    @property
    def _is_polled_by_processes(self) -> bool:
        """Whether Airflow starts a process for each poll."""
        return bool(self.reschedule) and not self.deferrable

    @cached_property
    def _poller(self) -> Poller:
        return self._new_poller(self._new_wait_state(time.time()), {})

    def _start(self, context: Context) -> Poller:
        """Return the poller; in reschedule mode the wait began with the first of the processes that share it."""
        if not self._is_polled_by_processes:
            return self._new_poller(self._new_wait_state(time.time()), {})
        # Airflow 2 does not say when the first process began.
        first = getattr(context["ti"], "get_first_reschedule_date", lambda _: None)(context)
        self.hook.warns = not first
        wait_state = self._new_wait_state(first.timestamp() if first else time.time())
        state, known = self._wait_state_of(context), {}
        if self._needs_wait_state or (first and state.has_store):
            known = state.read()
        if not known or known.get("try_number") != state.try_number:
            return self._new_poller(wait_state, {})
        carried: dict[str, Any] = {name: known[name] for name in _CARRIED if name in known}
        return self._new_poller(replace(wait_state, **carried), known)

    def _new_wait_state(self, started_at: float) -> WaitState:
        from airflow_provider_portkey.polling.wait_state import WaitState

        return WaitState(
            started_at=started_at,
            deadline=started_at + self.timeout,
            **self._intervals(),
            max_consecutive_failures=None if self.silent_fail else self.max_consecutive_failures,
            on_requires_action=self.on_requires_action,
            include_fields=list(self.include_fields or ()),
            max_bytes=self.max_bytes,
        )

    def _intervals(self) -> dict[str, Any]:
        from airflow_provider_portkey.polling.wait_state import MIN_POLL_INTERVAL

        is_unset = self.poke_interval == self._unset_poke_interval
        if not (is_unset or self.exponential_backoff):
            return {"poll_interval": self.poke_interval}
        least = _MIN_RESCHEDULE_INTERVAL if self._is_polled_by_processes else MIN_POLL_INTERVAL
        least = least if is_unset else self.poke_interval
        most = self.max_wait.total_seconds() if self.exponential_backoff and self.max_wait else self.max_poll_interval
        return {"min_poll_interval": min(least, most), "max_poll_interval": most}

    def _new_poller(self, state: WaitState, known: Mapping[str, Any]) -> Poller:
        """
        Return a poller that continues a wait.

        :param known: The value of :meth:`_known` in the process that polled before, or an empty mapping.
        """
        from airflow_provider_portkey.polling.poller import Poller

        return Poller(self.job, self._job_ids, state)

    def _known(self) -> dict[str, Any]:
        """Return what the process of the next rescheduled poll needs, as plain data."""
        return {name: getattr(self._poller.state, name) for name in _CARRIED}

    @staticmethod
    def _wait_state_of(context: Context) -> TaskState:
        from airflow_provider_portkey.state.task import WAIT_KEY, TaskState

        return TaskState(context, WAIT_KEY)

    def _poll(self) -> PollOutcome:
        poller, response = self._poller, self._first_response
        self._first_response = None
        try:
            if not response or not response.get("status"):  # a submission's response may leave the status out
                response = self._request()
            outcome = poller.on_response(response, time.time())
        except (PortkeyRequestError, PortkeyPaginationError, PortkeyConnectionInvalidError) as error:
            outcome = poller.on_failure(error, time.time())
        outcome.log_to(self.log)
        return outcome

    def _request(self) -> Any:
        """Send the requests of one poll; after a 401 once more if the connection has changed: a key was rotated."""
        if not self.hook.warns:  # a later process of the wait: the connection was read before
            self.hook.look_up_settings()
        try:
            return self._send_poll()
        except PortkeyAuthenticationError:
            if not self.hook.reread_connection():
                raise
        return self._send_poll()

    def _send_poll(self) -> Any:
        from airflow_provider_portkey.polling.drivers import drive

        # One attempt a request: the poller itself decides whether and when to poll again.
        return drive(self._poller.requests(time.time()), partial(self.hook.get_conn().get, max_retries=0))

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        """Return the job of an event or raise the event's error; count tokens and cost of what has finished."""
        from airflow_provider_portkey.metrics import count_usage
        from airflow_provider_portkey.polling.events import FAILED, conclude
        from airflow_provider_portkey.tasks.outlets import describe_outlets

        job = self._event_job
        try:
            found = conclude(job, event, on_failed=self.on_failed)
        except PortkeyRemoteJobError as error:
            count_usage(job, error.job)
            raise
        except PortkeyXComTooLargeError:
            count_usage(job, event["job"])
            raise
        finally:
            if self._needs_wait_state and self._is_polled_by_processes:
                self._wait_state_of(context).clear()
        count_usage(job, found)
        describe_outlets(self, context, {name: found[name] for name in _TO_OUTLETS if name in found})
        if event["reason"] == FAILED:
            self.log.info("The job has failed and is returned: %s", event["message"])
        return found

    @property
    def _event_job(self) -> JobSpec:
        """The declaration that the wait's event is about."""
        codes = self.retryable_error_codes
        return self.job if codes is None else replace(self.job, retryable_error_codes=codes)

    def _new_trigger(self, **arguments: Any) -> BasePortkeyTrigger:
        # Imported only where a task defers: the module brings Airflow's own trigger machinery along.
        from airflow_provider_portkey.triggers.job import PortkeyRemoteJobTrigger

        return PortkeyRemoteJobTrigger(job_spec=self.job.to_dict(), ids=self._job_ids, **arguments)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip for ``soft_fail`` and ``never_fail`` here: Airflow's own rules for them differ between the modes."""
        try:
            yield
        except (PortkeyError, AirflowSensorTimeout) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"{_SKIPPED}: {error}") from error
            raise


class BasePortkeyFieldsOperator(BasePortkeyWaitOperator):
    """
    Wait for one job, and return the job with fields that are excluded by default.

    :param include_fields: Excluded fields of the job to return nevertheless, such as ``["output"]`` of a response: a
        list, or a string with JSON or with names separated by commas or white space (templated). A field that the job
        does not have is left out; a name that is not one of the excluded fields is refused.
    :param max_bytes: Fail where the job with these fields has more bytes as JSON (templated).
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyWaitOperator.template_fields, "include_fields", "max_bytes")

    def __init__(
        self, *, include_fields: Sequence[str] | str | None = None, max_bytes: int = XCOM_MAX_BYTES, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.include_fields = include_fields
        self.max_bytes = max_bytes
        self._validate()

    def _validate(self) -> None:
        from airflow_provider_portkey.parameters import is_template

        super()._validate()
        if not is_template(self.include_fields) and not any(map(is_template, self.include_fields or ())):
            self._check_included()

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        self._check_included()

    def _check_included(self) -> None:
        if self.include_fields and (unknown := sorted({*self.include_fields} - {*self.job.excluded_fields})):
            excluded = ", ".join(sorted(self.job.excluded_fields))
            expected = f"only fields that are left out by default, which {', '.join(unknown)} is not: " + (
                excluded or f"a {self.job.kind} is returned whole"
            )
            raise PortkeyInvalidArgumentError("include_fields", self.include_fields, expected)

    def _returned(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return a job that is not waited for, as the task returns it.

        :raises PortkeyXComTooLargeError: where an included field is too large.
        """
        from airflow_provider_portkey.polling.events import summarize

        found, too_large = summarize(self.job, job, self.include_fields or (), self.max_bytes)
        if too_large:
            raise PortkeyXComTooLargeError(too_large)
        return found


class BasePortkeyRemoteJobOperator(BasePortkeyFieldsOperator):
    """
    Wait for one job, whose failure may be a result.

    :param on_failed: What to do when the job has failed: ``"fail"``, or ``"return"`` to succeed with the job, its
        status, and the reason in the field ``error_message``, for a branch (templated).
    :param kwargs: The arguments of :class:`BasePortkeyFieldsOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyFieldsOperator.template_fields, "on_failed")

    def __init__(self, *, on_failed: str = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_failed = on_failed
        self._validate()
