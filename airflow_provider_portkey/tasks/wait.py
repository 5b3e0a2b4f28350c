"""Waiting for any kind of job in three modes, on one outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_portkey.exceptions import PortkeyError, PortkeyRemoteJobFailedError, PortkeyRequestError
from airflow_provider_portkey.lazy import lazy_attribute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.jobs.spec import JobSpec
    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

#: Seconds that Airflow's own time-out of a deferral comes after the trigger's deadline: the trigger's event says
#: what it last saw, so it should win where the triggerer is alive.
_BACKSTOP = 120.0
#: Under this key a rescheduled sensor finds what it logged last (Airflow 3.3 and newer).
_SEEN = "portkey_seen"


class BasePortkeyWaitOperator(BaseSensorOperator):
    """
    Wait until a job has ended. A subclass names the kind of job.

    Poked, rescheduled and deferred alike it fails with the job's own reason when the job ended badly (no retry),
    with a time-out at ``timeout`` (no retry), and with an error that Airflow retries when too many looks in a row
    failed. With ``soft_fail`` or ``never_fail`` each of these skips the task, in every mode. With ``silent_fail``
    failed looks never end the wait.

    :param portkey_conn_id: The Airflow connection (templated).
    :param on_requires_action: What to do when the job waits for its caller: ``"fail"``, ``"wait"`` until somebody
        else has answered, or ``"return"`` to succeed and hand the job over.
    :param deferrable: Wait on the triggerer after one look, without a worker.
    :param max_consecutive_failures: Looks that may fail in a row before the wait is given up. A refusal that will
        not change (401, 403, 404 and the like) ends it at once.
    :param cancel_on_kill: Cancel the job when the task is killed or marked. Off, because a sensor did not start it.
    :raises PortkeyInvalidArgumentError: for a value that cannot be right.
    """

    template_fields: Sequence[str] = ("portkey_conn_id",)
    ui_color = "#e8e4f8"
    job: ClassVar[JobSpec]
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")
    _trace_id: str | None = None

    def __init__(
        self,
        *,
        portkey_conn_id: str = "portkey_default",
        on_requires_action: str = "fail",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        max_consecutive_failures: int = 5,
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.polling.poller import check_wait

        super().__init__(**kwargs)
        self.portkey_conn_id = portkey_conn_id
        self.on_requires_action = on_requires_action
        self.deferrable = deferrable
        self.max_consecutive_failures = max_consecutive_failures
        self.cancel_on_kill = cancel_on_kill
        check_wait(
            poke_interval=self.poke_interval,
            max_consecutive_failures=max_consecutive_failures,
            on_requires_action=on_requires_action,
        )

    @cached_property
    def hook(self) -> PortkeyHook:
        """The hook on the rendered connection id."""
        from airflow_provider_portkey.hooks.portkey import PortkeyHook

        return PortkeyHook(self.portkey_conn_id, trace_id=self._trace_id)

    def _trace(self, context: Context) -> None:
        """Have every request from here on carry the trace id of this try; the first thing that a task does."""
        from airflow_provider_portkey.links import trace_id_of

        trace_id = trace_id_of(context.get("ti"))
        if trace_id != self._trace_id:
            self._trace_id = trace_id
            self.__dict__.pop("hook", None)

    @property
    def _job_ids(self) -> dict[str, str]:
        """Which job, by the attributes that have the names of the job's ids."""
        return {name: getattr(self, name) for name in self.job.id_names}

    def execute(self, context: Context) -> Any:
        """
        Wait, and return the job without its bulky fields.

        :raises PortkeyRemoteJobFailedError: where the job ended badly.
        :raises PortkeyWaitTimeoutError: where it had not ended in time.
        :raises PortkeyPollingGaveUpError: where too many looks in a row failed.
        """
        self._trace(context)
        self._poller = self._start(context)
        if not self.deferrable:
            return super().execute(context)
        return self._look_or_defer(context)

    def _look_or_defer(self, context: Context) -> Any:
        """Return the job where it has ended, and go on waiting on the triggerer otherwise."""
        with self._skipping():
            outcome = self._look()
            if outcome.event:
                return self._conclude(context, outcome.event)
        trigger = self._trigger(next_look=time.time() + outcome.wait)
        backstop = timedelta(seconds=max(trigger.deadline - time.time(), 0) + _BACKSTOP)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; after a failed look again and again until one succeeds or the wait is given up."""
        self._trace(context)
        with self._skipping():
            logged = self._seen
            outcome = self._look()
            while outcome.event is None and self._poller.failures:
                time.sleep(outcome.wait)
                outcome = self._look()
            if outcome.event:
                return PokeReturnValue(True, self._conclude(context, outcome.event))
        if self.reschedule and self._seen != logged and (store := context.get("task_state_store")):
            store.set(_SEEN, {"try_number": context["ti"].try_number, **self._seen})
        return PokeReturnValue(False)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Return the job, or raise what the trigger's event says."""
        self._trace(context)
        with self._skipping():
            job = self._conclude(context, event)
        self.log.info("%s", event["message"])
        return job

    def on_kill(self) -> None:
        """Cancel the job, if it was asked for, when the task is killed on the worker."""
        if self.cancel_on_kill and (ids := self._job_ids):
            self.log.info("Cancelling %s, because the task was killed.", self.job.describe(ids))
            self.hook.cancel_job(self.job, ids)

    @cached_property
    def _poller(self) -> Poller:
        return self._poller_since(time.time())

    @property
    def _seen(self) -> dict[str, str | None]:
        return {"status": self._poller.status, "progress": self._poller.progress}

    def _start(self, context: Context) -> Poller:
        """Return the poller; in reschedule mode the wait began with the first of the processes that share it."""
        if not self.reschedule or self.deferrable:
            return self._poller_since(time.time())
        first = getattr(context["ti"], "get_first_reschedule_date", lambda _: None)(context)
        poller = self._poller_since(first.timestamp() if first else time.time())
        if first and (store := context.get("task_state_store")):
            seen: Any = store.get(_SEEN) or {}
            if seen.get("try_number") == context["ti"].try_number:
                poller.status, poller.progress = seen["status"], seen["progress"]
        return poller

    def _poller_since(self, started: float) -> Poller:
        return self._new_poller(
            started=started,
            deadline=started + self.timeout,
            poke_interval=self.poke_interval,
            max_consecutive_failures=None if self.silent_fail else self.max_consecutive_failures,
            on_requires_action=self.on_requires_action,
        )

    def _new_poller(self, **wait: Any) -> Poller:
        from airflow_provider_portkey.polling.poller import Poller

        return Poller(self.job, self._job_ids, **wait)

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        return self._counted(self.job, event)

    def _counted(self, job: JobSpec, event: Any) -> dict[str, Any]:
        """Return the job that an event is about, or raise what it says, and count the tokens of what has ended."""
        from airflow_provider_portkey.metrics import count_tokens
        from airflow_provider_portkey.polling.events import conclude

        try:
            found = conclude(job, event)
        except PortkeyRemoteJobFailedError as error:
            count_tokens(job, error.job)
            raise
        count_tokens(job, found)
        return found

    def _look(self) -> PollOutcome:
        poller = self._poller
        try:
            # One try: the poller itself decides whether and when to look again.
            outcome = poller.on_response(self.hook.get_job(self.job, self._job_ids, max_retries=0), time.time())
        except PortkeyRequestError as error:
            outcome = poller.on_failure(error, time.time())
        outcome.log_to(self.log)
        return outcome

    def _trigger(self, *, next_look: float) -> BasePortkeyTrigger:
        poller = self._poller
        return self._new_trigger(
            deadline=poller.deadline,
            portkey_conn_id=self.portkey_conn_id,
            poll_interval=poller.poke_interval,
            max_consecutive_failures=poller.max_consecutive_failures,
            on_requires_action=poller.on_requires_action,
            cancel_on_kill=self.cancel_on_kill,
            started=poller.started,
            next_look=next_look,
            status=poller.status,
            failures=poller.failures,
            progress=poller.progress,
            trace_id=self._trace_id,
        )

    def _new_trigger(self, **wait: Any) -> BasePortkeyTrigger:
        # Imported only where a task defers: it brings Airflow's own trigger machinery along.
        from airflow_provider_portkey.triggers.job import PortkeyRemoteJobTrigger

        return PortkeyRemoteJobTrigger(job_spec=self.job.to_dict(), ids=self._job_ids, **wait)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip for ``soft_fail`` and ``never_fail`` here: Airflow's own rules for them differ between the modes."""
        try:
            yield
        except PortkeyError as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise
