"""Submitting a job of any kind once, however often its task is started, and waiting for the job."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import (
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRequestError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.state.task import TaskState

#: The key of a job's metadata under which an operator finds its own job again.
IDEMPOTENCY_KEY = "airflow_idempotency_key"
#: Seconds that the clocks of a worker and of a provider may differ.
_CLOCK_SKEW = 3600.0
#: Stop searching after this many consecutive jobs older than the first attempt (lists are newest first).
_MAX_CONSECUTIVE_OLD = 20


def refuse_idempotency_key(metadata: Mapping[str, Any]) -> None:
    """
    Keep the place of the idempotency key in a job's metadata free.

    :raises PortkeyInvalidArgumentError: where a caller has taken it.
    """
    if IDEMPOTENCY_KEY in metadata:
        raise PortkeyInvalidArgumentError("metadata", metadata, f"no key {IDEMPOTENCY_KEY!r}: the operator sets it")


def idempotency_key_of(job: Mapping[str, Any]) -> object:
    """Return the idempotency key that a job was submitted with, ``None`` where it has none."""
    metadata = job.get("metadata")
    return metadata.get(IDEMPOTENCY_KEY) if isinstance(metadata, Mapping) else None


def find_own(
    jobs: Iterable[Mapping[str, Any]], is_own: Callable[[Mapping[str, Any]], bool], *, since: float
) -> Mapping[str, Any] | None:
    """
    Return a task's own job of a list, ``None`` where the list has none.

    :param jobs: As Portkey lists them; where the newest come first, the search ends at jobs that are too old.
    :param is_own: Whether a job is the one.
    :param since: When the task first tried to submit the job, epoch seconds.
    """
    from airflow_provider_portkey.jobs.values import epoch_seconds

    since, last, old = since - _CLOCK_SKEW, float("inf"), 0
    for job in jobs:
        if is_own(job):
            return job
        created = created_at if (created_at := epoch_seconds(job.get("created_at"))) is not None else last
        old = old + 1 if created < since and created <= last else 0
        last = created
        if old >= _MAX_CONSECUTIVE_OLD:
            break
    return None


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


class BasePortkeySubmitOperator(BasePortkeyWaitOperator):
    """
    Submit a job and wait for it, in the three modes of a sensor. A subclass says how to submit its kind.

    A retry, a rescheduled poll and a restart after a crash find the submitted job and continue with it; a job is
    submitted again only where a user clears the task after the job has finished, or where the job failed.

    :param wait_for_completion: Wait until the job has finished; otherwise return as soon as it is submitted.
    :param cancel_on_kill: Cancel the job when the task is killed or marked: on, because the task started it.
    :param resubmit_unknown: What to do where an earlier try broke off between sending the submission and receiving
        its response, and Portkey does not report the outcome: submit again and perhaps pay twice, or fail
        (templated).
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyWaitOperator.template_fields, "resubmit_unknown")

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
        job = self._find(task_state) or self._submit(task_state)
        if not self.wait_for_completion:
            task_state.clear()
            return self.job.summary(job)
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
        Return the job that was submitted with an idempotency key, ``None`` where there surely is none.

        :param task_state: With what the earlier try has done.
        :param idempotency_key: As in :meth:`submit`.
        :raises PortkeySubmissionUnknownError: where this kind of job cannot be found by an idempotency key.
        """
        if self.resubmit_unknown:
            return None
        raise PortkeySubmissionUnknownError(
            f"An earlier try of this task sent a {self.job.kind} and broke off before the response arrived, and "
            "Portkey does not report the outcome. Portkey's logs show whether the request was carried out. To "
            "submit it again, set resubmit_unknown=True."
        )

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
            try:
                job = self.hook.get_job(self.job, ids)
            except PortkeyNotFoundError:
                self.log.warning("%s is gone; submitting it again.", self.job.describe(ids))
                return None
            cleared = known.get("clear_count") != task_state.clear_count
            earlier = cleared or known.get("try_number") != task_state.try_number
            finished = {
                *(self.job.failure_statuses if earlier else ()),
                *(self.job.success_statuses if cleared else ()),
            }
            if job.get("status") in finished:
                self.log.info("%s finished as %s before; submitting again.", self.job.describe(ids), job["status"])
                return None
            if earlier:
                self._remember(task_state, ids, clear_count=known.get("clear_count"))
            self.log.info("Continuing with %s, which an earlier try submitted.", self.job.describe(ids))
            self._submitted = dict(ids)
            return job
        if (key := known.get("idempotency_key")) and (found := self.find_by_idempotency_key(task_state, key)):
            self._remember(task_state, self._ids_of(found), clear_count=task_state.clear_count)
            return found
        return None

    def _submit(self, task_state: TaskState) -> Mapping[str, Any]:
        known = task_state.read()
        if known.get("ids"):
            known = {}  # of a job that has finished
        key = known.get("idempotency_key") or uuid.uuid4().hex
        task_state.write({**known, "idempotency_key": key})
        try:
            job = self.submit(task_state, key)
        except PortkeyError as error:
            if not isinstance(error, PortkeyRequestError) or error.safe_to_retry:
                kept = {name: value for name, value in task_state.read().items() if name != "idempotency_key"}
                task_state.write(kept)
            raise
        self._remember(task_state, self._ids_of(job), clear_count=task_state.clear_count)
        self.log.info("Submitted %s.", self.job.describe(self._job_ids))
        return job

    def _remember(self, task_state: TaskState, ids: Mapping[str, str], *, clear_count: int | None) -> None:
        self._submitted = dict(ids)
        task_state.write({"ids": self._submitted, "clear_count": clear_count, "try_number": task_state.try_number})

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

        job = super()._conclude(context, event)
        TaskState(context).clear()
        return job
