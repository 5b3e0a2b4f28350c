"""Submitting a job of any kind once, however often its task is started, and waiting for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
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
#: Jobs in a row older than the first try after which a list has nothing more to say, if the newest come first.
_OLD_IN_A_ROW = 20


def refuse_idempotency_key(metadata: Mapping[str, Any]) -> None:
    """
    Leave the idempotency key's place in a job's metadata to the operator.

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
    Return a task's own job of a list, ``None`` where it has none.

    :param jobs: As Portkey lists them; where the newest come first, the search ends at those that are too old.
    :param is_own: Whether a job is the one.
    :param since: When the task first tried to submit it, epoch seconds.
    """
    since, last, old = since - _CLOCK_SKEW, float("inf"), 0
    for job in jobs:
        if is_own(job):
            return job
        created = job.get("created_at")
        created = created if isinstance(created, int | float) else last
        old = old + 1 if created < since and created <= last else 0
        last = created
        if old >= _OLD_IN_A_ROW:
            break
    return None


class BasePortkeySubmitOperator(BasePortkeyWaitOperator):
    """
    Submit a job and wait for it, in the three modes of a sensor. A subclass says how to submit its kind.

    A retry, a rescheduled look and a restart after a crash find the job that was submitted and go on with it;
    a job is submitted anew only where a user clears the task after the job has ended.

    :param wait_for_completion: Wait until the job has ended; otherwise return as soon as it is submitted.
    :param cancel_on_kill: Cancel the job when the task is killed or marked: on, because the task started it.
    :param resubmit_unknown: What to do where an earlier try broke off between sending the submission and learning
        its outcome, and Portkey cannot be asked what became of it: submit again and perhaps pay twice, or fail.
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors.
    """

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

    def execute(self, context: Context) -> Any:
        """
        Submit the job unless that was done before, and wait.

        :return: The job without its bulky fields; without waiting, as it was when it was submitted.
        :raises PortkeySubmissionUnknownError: where an earlier try may have submitted it and nobody can tell.
        """
        from airflow_provider_portkey.state.task import TaskState

        self._trace(context)
        task_state = TaskState(context)
        job = self._find(task_state) or self._submit(task_state)
        if not self.wait_for_completion:
            task_state.clear()
            return self.job.summary(job)
        return super().execute(context)

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """
        Submit the job and return Portkey's answer. A subclass overrides it where there is more to do.

        :param task_state: For what an earlier try has done already, and the next one need not do again.
        :param idempotency_key: A random text, the same in each try; where it can be sent along, the job is found by it.
        """
        return self.hook.create_job(self.job, self.request_body())

    def request_body(self) -> Mapping[str, Any]:
        """Return what is posted to make the job."""
        raise NotImplementedError

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the job that was submitted with a idempotency_key, ``None`` where there surely is none.

        :param task_state: With what the earlier try has done.
        :param idempotency_key: As in :meth:`submit`.
        :raises PortkeySubmissionUnknownError: where this kind of job cannot be found by a idempotency_key.
        """
        if self.resubmit_unknown:
            return None
        raise PortkeySubmissionUnknownError(
            f"An earlier try of this task sent a {self.job.kind} and broke off before it learned the outcome, and "
            "Portkey cannot be asked for it. See in Portkey's logs whether it was carried out. To submit it anew, "
            "set resubmit_unknown=True."
        )

    @property
    def _job_ids(self) -> dict[str, str]:
        return self._submitted or {}

    def _find(self, task_state: TaskState) -> Mapping[str, Any] | None:
        """Return the job that an earlier try submitted, where this try should go on with it."""
        known = task_state.read()
        if ids := known.get("ids"):
            try:
                job = self.hook.get_job(self.job, ids)
            except PortkeyNotFoundError:
                self.log.warning("%s is gone; submitting anew.", self.job.describe(ids))
                return None
            cleared = known.get("clear_count") != task_state.clear_count
            # A rescheduled look belongs to the try that waits: what ended badly between two looks is its own failure.
            earlier = cleared or known.get("try_number") != task_state.try_number
            ended = {*(self.job.failure_statuses if earlier else ()), *(self.job.success_statuses if cleared else ())}
            if job.get("status") in ended:
                self.log.info("%s has ended as %s before; submitting anew.", self.job.describe(ids), job["status"])
                return None
            if earlier:
                task_state.write(
                    {"ids": ids, "clear_count": known.get("clear_count"), "try_number": task_state.try_number}
                )
            self.log.info("Going on with %s, which an earlier try submitted.", self.job.describe(ids))
            self._submitted = dict(ids)
            return job
        if (idempotency_key := known.get("idempotency_key")) and (
            found := self.find_by_idempotency_key(task_state, idempotency_key)
        ):
            self._remember(task_state, found)
            return found
        return None

    def _submit(self, task_state: TaskState) -> Mapping[str, Any]:
        known = task_state.read()
        if known.get("ids"):
            known = {}  # of a job that is over
        idempotency_key = known.get("idempotency_key") or uuid.uuid4().hex
        task_state.write({**known, "idempotency_key": idempotency_key})
        try:
            job = self.submit(task_state, idempotency_key)
        except PortkeyError as error:
            if not isinstance(error, PortkeyRequestError) or error.safe_to_retry:
                task_state.write(
                    {name: value for name, value in task_state.read().items() if name != "idempotency_key"}
                )
            raise
        self._remember(task_state, job)
        self.log.info("Submitted %s.", self.job.describe(self._job_ids))
        return job

    def _remember(self, task_state: TaskState, job: Mapping[str, Any]) -> None:
        self._submitted = self._ids_of(job)
        task_state.write(
            {"ids": self._submitted, "clear_count": task_state.clear_count, "try_number": task_state.try_number}
        )

    def _ids_of(self, job: Mapping[str, Any]) -> dict[str, str]:
        """Return which job it is: the last of its ids stands in ``id``, the others under their own names."""
        *context, own = self.job.id_names
        ids = {**{name: job.get(name) for name in context}, own: job.get("id")}
        if wrong := [name for name, value in ids.items() if not isinstance(value, str) or not value]:
            named = ", ".join("id" if name == own else name for name in wrong)
            raise PortkeyUnexpectedResponseError(f"The answer to the submission has no {named}, only {sorted(job)}.")
        return {name: str(value) for name, value in ids.items()}

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        from airflow_provider_portkey.state.task import TaskState

        job = super()._conclude(context, event)
        TaskState(context).clear()
        return job
