"""Waiting for a run, and for many runs of a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.tasks.wait import BasePortkeyRemoteJobOperator, BasePortkeyWaitOperator

if TYPE_CHECKING:
    from airflow_provider_portkey.polling.run_group import RunGroupPoller
    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger, PortkeyThreadRunsTrigger


class PortkeyRunSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a run has finished, and return it without its instructions and tools.

    The task succeeds at ``completed``, fails with the run's own reason at ``failed``, ``cancelled``, ``expired`` and
    ``incomplete``, and continues to wait at every other status, also at an unknown one.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param on_requires_action: What to do at ``requires_action``: ``"fail"``, ``"wait"`` until somebody else has
        submitted tool outputs, or ``"return"`` to succeed with the run (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyRemoteJobOperator.template_fields,
        "thread_id",
        "run_id",
        "on_requires_action",
    )
    job = lazy_attribute("jobs.run", "RUN")

    def __init__(self, *, thread_id: str, run_id: str, on_requires_action: str = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.on_requires_action = on_requires_action
        self._validate()

    def _new_trigger(self, **arguments: Any) -> PortkeyRunTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        return PortkeyRunTrigger(thread_id=self.thread_id, run_id=self.run_id, **arguments)


class PortkeyThreadRunsSensor(BasePortkeyWaitOperator):
    """
    Wait in one task for many runs of a thread, a hundred of them with each request.

    The task returns a summary, not the runs: ``thread_id``, ``total``, ``status_counts``, the ids of runs that failed
    (``failed_run_ids``) or require action (``action_required_run_ids``), the run that succeeded first where any is
    waited for (``first_completed_run_id``), and the tokens of all finished runs (``usage``) and of each status
    (``tokens_by_status``).

    :param thread_id: The thread (templated).
    :param run_ids: The runs (templated): a list, or a string with JSON or with ids separated by commas or white space;
        ``None`` for all runs of the thread that are active at the first poll. Without a run the task succeeds.
    :param wait_for: ``"all"``; or ``"any"``: succeed as soon as one run has succeeded, fail when all have failed
        (templated).
    :param max_failed_runs: With ``wait_for="all"``, how many runs may fail; one more fails the task at once. ``None``
        for any number (templated).
    :param created_within: Without ``run_ids``: seconds before the first poll (templated). The search for active runs
        ends at the first page whose runs were all created earlier. Runs expire about ten minutes after their creation.
    :param on_requires_action: As of :class:`PortkeyRunSensor`; with ``"return"`` a run that requires action counts as
        one that has succeeded (templated).
    :param on_failed: What to do when too many runs have failed: ``"fail"``, or ``"return"`` to succeed with the
        summary and the reasons in its field ``error_message`` (templated).
    :param cancel_on_kill: Cancel every active run when the task is killed or marked.
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors;
        ``retryable_error_codes`` has no effect, because a retry would poll the same runs.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyWaitOperator.template_fields,
        "thread_id",
        "run_ids",
        "wait_for",
        "max_failed_runs",
        "created_within",
        "on_requires_action",
        "on_failed",
    )
    job = lazy_attribute("jobs.run", "RUN")
    _event_job = lazy_attribute("jobs.run", "RUN_GROUP")
    _needs_wait_state = True
    _poller: RunGroupPoller

    def __init__(
        self,
        *,
        thread_id: str,
        run_ids: Sequence[str] | str | None = None,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        on_requires_action: str = "fail",
        on_failed: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_ids = run_ids
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        self.on_requires_action = on_requires_action
        self.on_failed = on_failed
        self._validate()

    def on_kill(self) -> None:
        """Cancel every active run, if that was requested, when the task is killed on the worker."""
        if not self.cancel_on_kill or not (waiting := self._poller.waiting):
            return
        self.log.info("Cancelling %d runs of thread %r, because the task was killed.", len(waiting), self.thread_id)
        for run_id in waiting:
            try:
                self.hook.cancel_run(self.thread_id, run_id)
            except PortkeyRequestError as error:  # a run that has finished meanwhile keeps none of the others
                self.log.warning("%s", error)

    def _new_poller(self, state: WaitState, known: Mapping[str, Any]) -> RunGroupPoller:
        from airflow_provider_portkey.polling.run_group import RunGroupPoller
        from airflow_provider_portkey.validation import read_ids

        return RunGroupPoller(
            self.thread_id,
            read_ids("run_ids", self.run_ids),
            state,
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=known.get("runs"),
        )

    def _known(self) -> dict[str, Any]:
        return {**super()._known(), "runs": self._poller.to_dict()}

    def _new_trigger(self, **arguments: Any) -> PortkeyThreadRunsTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyThreadRunsTrigger

        return PortkeyThreadRunsTrigger(
            thread_id=self.thread_id,
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=self._poller.to_dict(),
            **arguments,
        )
