"""Submitting a job of any kind once, however often its task is started, and waiting for the job."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey.exceptions import (
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyRequestError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.tasks.wait import BasePortkeyRemoteJobOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.state.task import TaskState
    from airflow_provider_portkey.tasks.idempotency import Patience


def build_body(own: Mapping[str, Any], extra_body: object, *, reserved: Iterable[str] = ()) -> dict[str, Any]:
    """
    Return the body of a request from an operator's arguments and the further fields of its ``extra_body``.

    :param own: The fields that are arguments of the operator; ``None`` leaves a field out.
    :param extra_body: A mapping, a JSON string with an object, or ``None``.
    :param reserved: Fields that the operator sets itself.
    :raises PortkeyInvalidArgumentError: where ``extra_body`` has a field of the operator's own.
    """
    from airflow_provider_portkey.validation import json_object

    extra = json_object("extra_body", extra_body) or {}
    if twice := sorted({*own, *reserved} & extra.keys()):
        expected = f"fields that are no arguments of the operator, unlike {', '.join(twice)}"
        raise PortkeyInvalidArgumentError("extra_body", extra, expected)
    return {**extra, **{name: value for name, value in own.items() if value is not None}}


class BasePortkeySubmitOperator(BasePortkeyRemoteJobOperator):
    """
    Submit a job and wait for it, in the three modes of a sensor. A subclass says how to submit its kind.

    A retry, a rescheduled poll and a restart after a crash find the submitted job and continue with it; a job is
    submitted again only where a user clears the task after the job has finished, or where the job failed.

    :param wait_for_completion: Wait until the job has finished; otherwise return as soon as it is submitted.
    :param cancel_on_kill: Cancel the job when the task is killed or marked: on, because the task started it. A job
        whose submission is under way is searched for, and cancelled at the latest when its response arrives.
    :param resubmit_unknown: What to do where an earlier try broke off between sending the submission and receiving
        its response, and Portkey does not report the outcome: submit again and perhaps pay twice, or fail
        (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyRemoteJobOperator.template_fields, "resubmit_unknown")
    #: What of the task state a further submission of the same try can use.
    _kept: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        cancel_on_kill: bool = True,
        resubmit_unknown: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(cancel_on_kill=cancel_on_kill, **kwargs)
        self.wait_for_completion = wait_for_completion
        self.resubmit_unknown = resubmit_unknown
        self._submitted: dict[str, str] | None = None
        #: The idempotency key of a submission without a known outcome, and the state for a search.
        self._open_submission: tuple[TaskState, str] | None = None
        self._killed = self._cancel_late = False
        self._patience: Patience | None = None
        self._validate()

    def execute(self, context: Context) -> Any:
        """
        Submit the job unless that was done before, and wait.

        :return: The job without its excluded fields; without waiting, as it was when it was submitted.
        :raises PortkeySubmissionUnknownError: where an earlier try may have submitted the job and nobody can tell.
        """
        from airflow_provider_portkey.state.task import TaskState

        self._begin(context)
        task_state = TaskState(context)
        if self._is_rescheduled(task_state):
            return super().execute(context)
        # Read here: a signal handler, as which Airflow calls on_kill, must not use Airflow's API.
        self._trace_id_in_logs = self.hook.settings.trace_id or self._trace_id
        job = self._find(task_state) or self._submit(task_state)
        if self._cancel_late:
            super().on_kill()
        if not self.wait_for_completion:
            found = self._returned(job)
            task_state.clear()
            return found
        self._first_response = job
        return super().execute(context)

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """
        Submit the job and return Portkey's response. A subclass overrides it where there is more to do.

        :param task_state: For what an earlier try has done already, and the next one need not do again.
        :param idempotency_key: A random string, the same in each try; where it can be sent along, it finds the job.
        """
        return self.hook.create_job(self.job, self.request_body())

    def request_body(self) -> Mapping[str, Any]:
        """Return the body of the request that creates the job."""
        raise NotImplementedError

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the job that was submitted with an idempotency key, ``None`` where there is none for certain.

        :param task_state: With what the earlier try has done.
        :param idempotency_key: As in :meth:`submit`.
        :raises PortkeySubmissionUnknownError: where this kind of job cannot be found by an idempotency key.
        """
        self._refuse_unknown_outcome()
        return None

    def _refuse_unknown_outcome(self) -> None:
        if not self.resubmit_unknown:
            raise PortkeySubmissionUnknownError(
                f"An earlier try of this task sent a {self.job.kind} and broke off before the response arrived, and "
                "Portkey does not report the outcome. Portkey's logs show whether the request was carried out. To "
                "submit it again, set resubmit_unknown=True."
            )

    def on_kill(self) -> None:
        """Cancel the job; a job whose submission is under way is searched for first."""
        self._killed = True
        if self.cancel_on_kill and not self._submitted and self._open_submission:
            self._submitted = self._find_while_killed(*self._open_submission)
        # Airflow 3 calls this in a signal handler and continues the task, until it ends the process.
        self._cancel_late = self.cancel_on_kill and not self._submitted
        super().on_kill()

    def _refuse_after_kill(self) -> None:
        if self._killed:
            raise PortkeyError(f"The task was killed before it submitted its {self.job.kind}.")

    def _find_while_killed(self, task_state: TaskState, idempotency_key: str) -> dict[str, str] | None:
        from airflow_provider_portkey.tasks.idempotency import IDEMPOTENCY_KEY, WHILE_KILLED

        self._patience = WHILE_KILLED
        try:
            if job := self.find_by_idempotency_key(task_state, idempotency_key):
                return self._ids_of(job)
        except PortkeyError as error:
            self.log.debug("The search failed.", exc_info=error)
        self.log.warning(
            "The task was killed before the response to the submission of its %s arrived, and the %s was not found: it "
            "may run, and cost. In Portkey's logs the request has the trace id %s and, where metadata was sent, %s=%s.",
            *(self.job.kind, self.job.kind, self._trace_id_in_logs, IDEMPOTENCY_KEY, idempotency_key),
        )
        return None

    def _search(
        self,
        jobs: Callable[[], Iterable[Mapping[str, Any]]],
        is_own: Callable[[Mapping[str, Any]], bool],
        *,
        since: float,
    ) -> Mapping[str, Any] | None:
        """
        Search a list, which may lag behind, for the job that an earlier try may have submitted.

        :param jobs: Requests the list.
        :param is_own: Whether a job is the one.
        :param since: When the task first tried to submit the job, epoch seconds.
        :raises PortkeySubmissionUnknownError: where the jobs cannot be listed.
        """
        from airflow_provider_portkey.tasks.idempotency import BEFORE_SUBMISSION, find_own

        patience = self._patience or BEFORE_SUBMISSION
        try:
            job = patience.repeat(lambda: find_own(jobs(), is_own, since=since))
        except (PortkeyPaginationError, PortkeyRequestError) as error:
            if getattr(error, "transient", False):
                raise
            self.log.warning("The list of jobs of the kind %r cannot be read: %s", self.job.kind, error)
            self._refuse_unknown_outcome()
            return None
        if job:
            self.log.info("An earlier try submitted %s.", self.job.describe(self._ids_of(job)))
        else:
            self.log.info("An earlier try may have submitted a %s; %s found none.", self.job.kind, patience)
        return job

    @property
    def _job_ids(self) -> dict[str, str]:
        return self._submitted or {}

    def _is_rescheduled(self, task_state: TaskState) -> bool:
        """
        Return whether an earlier process of this try submitted the job and was rescheduled.

        The poll itself requests the job then, and decides as in the other modes: a job that failed between two polls
        fails this try, and a failed poll is one of ``max_consecutive_failures``.
        """
        known = task_state.read()
        of_this_try = (known.get("clear_count"), known.get("try_number")) == (
            task_state.clear_count,
            task_state.try_number,
        )
        if not (self._is_polled_by_processes and of_this_try and known.get("ids")):
            return False
        self._submitted = dict(known["ids"])
        return True

    def _find(self, task_state: TaskState) -> Mapping[str, Any] | None:
        """Return the job that an earlier try submitted, where this try should continue with it."""
        known = task_state.read()
        if ids := known.get("ids"):
            self._submitted = dict(ids)  # a kill cancels the job from here on
            job = self._get_submitted(task_state, ids, known)
            if job is None:
                self._submitted = None
            return job
        if key := known.get("idempotency_key"):
            self._open_submission = task_state, key
            if found := self.find_by_idempotency_key(task_state, key):
                if found.get("status") in self.job.failure_statuses and self.on_failed == "fail":
                    self.log.info("%s has failed before; submitting again.", self.job.describe(self._ids_of(found)))
                    task_state.write({})
                    return None
                self._remember(task_state, self._ids_of(found))
                return found
        return None

    def _get_submitted(
        self, task_state: TaskState, ids: Mapping[str, str], known: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        from airflow_provider_portkey.tasks.idempotency import BEFORE_SUBMISSION

        described = self.job.describe(ids)
        job = BEFORE_SUBMISSION.repeat(lambda: self._get_unless_gone(ids))
        if job is None:
            self.log.warning("%s is gone; submitting it again.", described)
            return None
        # A job that was never returned is not submitted again for a task that is cleared.
        cleared = known.get("clear_count") != task_state.clear_count and not known.get("too_large")
        earlier = cleared or known.get("try_number") != task_state.try_number
        finished = {
            *(self.job.failure_statuses if cleared or (earlier and self.on_failed == "fail") else ()),
            *(self.job.success_statuses if cleared else ()),
        }
        if job.get("status") in finished:
            self.log.info("%s finished as %s before; submitting again.", described, job["status"])
            return None
        if earlier:
            self._remember(task_state, ids)
        self.log.info("Continuing with %s, which an earlier try submitted.", described)
        return job

    def _get_unless_gone(self, ids: Mapping[str, str]) -> Mapping[str, Any] | None:
        try:
            return self.hook.get_job(self.job, ids)
        except PortkeyNotFoundError:
            return None

    def _submit(self, task_state: TaskState) -> Mapping[str, Any]:
        known = task_state.read()
        if known.get("ids"):
            known = {}  # of a job that has finished
        key = known.get("idempotency_key") or uuid.uuid4().hex
        task_state.write({**known, "idempotency_key": key})
        self._open_submission = task_state, key
        try:
            self._refuse_after_kill()
            job = self.submit(task_state, key)
        except PortkeyError as error:
            if not isinstance(error, PortkeyRequestError) or error.safe_to_retry:
                self._open_submission = None
                kept = {name: value for name, value in task_state.read().items() if name != "idempotency_key"}
                task_state.write(kept)
            elif self._cancel_late:
                self.on_kill()  # the job may show by now
            raise
        ids = self._ids_of(job)
        self._remember(task_state, ids)
        self.log.info("Submitted %s.", self.job.describe(ids))
        return job

    def _remember(self, task_state: TaskState, ids: Mapping[str, str]) -> None:
        self._submitted, self._open_submission = dict(ids), None
        counts = {"clear_count": task_state.clear_count, "try_number": task_state.try_number}
        known = task_state.read()
        kept = {name: known[name] for name in self._kept if name in known}
        task_state.write({"ids": self._submitted, **counts, **kept})

    def _ids_of(self, job: Mapping[str, Any]) -> dict[str, str]:
        """Return which job it is: the last of its ids is in ``id``, the others are under their own names."""
        *context, own = self.job.id_names
        ids = {**{name: job.get(name) for name in context}, own: job.get("id")}
        if wrong := [name for name, value in ids.items() if not isinstance(value, str) or not value]:
            named = ", ".join("id" if name == own else name for name in wrong)
            raise PortkeyUnexpectedResponseError(f"The response to the submission has no {named}, only {sorted(job)}.")
        return {name: str(value) for name, value in ids.items()}

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        from airflow_provider_portkey.state.task import TaskState

        task_state = TaskState(context)
        try:
            job = super()._conclude(context, event)
        except PortkeyXComTooLargeError:
            task_state.write({**task_state.read(), "too_large": True})
            raise
        task_state.clear()
        return job
