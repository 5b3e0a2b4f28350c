"""Waiting for a run, and for many runs of a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import PokeReturnValue

from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.client.pagination import Item
    from airflow_provider_portkey.polling.poller import PollOutcome
    from airflow_provider_portkey.polling.run_group import RunGroupPoller
    from airflow_provider_portkey.polling.run_pages import Pages
    from airflow_provider_portkey.state.task import TaskState
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger, PortkeyThreadRunsTrigger


class PortkeyRunSensor(BasePortkeyWaitOperator):
    """
    Wait until a run has ended, and return it without its instructions and tools.

    It succeeds at ``completed``, fails with the run's own reason at ``failed``, ``cancelled``, ``expired`` and
    ``incomplete``, and goes on at every other status, also at one that nobody knows.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "thread_id", "run_id")
    job = lazy_attribute("jobs.run", "RUN")

    def __init__(self, *, thread_id: str, run_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id

    def _new_trigger(self, **wait: Any) -> PortkeyRunTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        return PortkeyRunTrigger(thread_id=self.thread_id, run_id=self.run_id, **wait)


class PortkeyThreadRunsSensor(BasePortkeyWaitOperator):
    """
    Wait in one task for many runs of a thread, a hundred of them with each request.

    It returns an account of them, not the runs: ``thread_id``, ``total``, ``counts`` by status, the ids of those that
    ended badly (``failure_statuses``) or wait for their caller (``requires_action``), the run that ended ``first`` where any
    is waited for, and the tokens that those that have ended used together (``usage``)
    and for each status (``tokens_by_status``).

    :param thread_id: The thread (templated).
    :param run_ids: The runs (templated): a list, or a text with JSON or with ids divided by commas or line breaks;
        ``None`` for all runs of the thread that are active at the first look. With none to wait for it succeeds.
    :param wait_for: ``"all"``; or ``"any"``: succeed as soon as one has ended well, fail when all have ended badly.
    :param max_failed_runs: With ``wait_for="all"``, how many runs may end badly; one more fails the task at once.
        ``None`` for any number.
    :param created_within: Without ``run_ids``: seconds before the first look. The search for active runs ends at the
        first page whose runs were all created earlier. Runs expire about ten minutes after their creation.
    :param cancel_on_kill: Cancel every run that is still active when the task is killed or marked.
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors. With
        ``on_requires_action="return"`` a run that waits for its caller counts as one that has ended well.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "thread_id", "run_ids")
    job = lazy_attribute("jobs.run", "RUN")
    _poller: RunGroupPoller
    _task_state: TaskState | None = None
    _known: dict[str, Any] | None = None

    def __init__(
        self,
        *,
        thread_id: str,
        run_ids: Sequence[str] | str | None = None,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.polling.run_group import check_group

        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_ids = run_ids
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        check_group(wait_for=wait_for, max_failed_runs=max_failed_runs, created_within=created_within)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, and keep for the process of the next look which runs it is about."""
        before = self._poller.to_dict()
        ended = super().poke(context)
        if self._task_state and not ended and (known := self._poller.to_dict()) != before:
            self._task_state.write({"try_number": context["ti"].try_number, "runs": known})
        return ended

    def on_kill(self) -> None:
        """Cancel every run that is still active, if it was asked for, when the task is killed on the worker."""
        if not self.cancel_on_kill or not (waiting := self._poller.waiting):
            return
        self.log.info("Cancelling %d runs of thread %r, because the task was killed.", len(waiting), self.thread_id)
        for run_id in waiting:
            try:
                self.hook.cancel_run(self.thread_id, run_id)
            except PortkeyRequestError as error:  # one that has ended meanwhile keeps none of the others
                self.log.warning("%s", error)

    def _start(self, context: Context) -> RunGroupPoller:
        if self.reschedule and not self.deferrable:
            from airflow_provider_portkey.state.task import TaskState

            self._task_state = TaskState(context)
            remembered = self._task_state.read()
            if remembered.get("try_number") == context["ti"].try_number:
                self._known = remembered.get("runs")
        with self._skipping():
            return cast("RunGroupPoller", super()._start(context))

    def _new_poller(self, **wait: Any) -> RunGroupPoller:
        from airflow_provider_portkey.polling.run_group import RunGroupPoller
        from airflow_provider_portkey.validation import read_ids

        return RunGroupPoller(
            self.thread_id,
            read_ids("run_ids", self.run_ids),
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=self._known,
            **wait,
        )

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        from airflow_provider_portkey.jobs.run import RUNS

        if self._task_state:
            self._task_state.clear()
        return self._counted(RUNS, event)

    def _look(self) -> PollOutcome:
        group = self._poller
        try:
            # One try each: the group itself decides whether and when to look again.
            found = self._read(group.pages(time.time()))
            failed: dict[str, PortkeyRequestError] = {}
            for run_id in group.unanswered(found):
                try:
                    found[run_id] = self.hook.get_job(
                        self.job, {"thread_id": self.thread_id, "run_id": run_id}, max_retries=0
                    )
                except PortkeyRequestError as error:
                    failed[run_id] = error
                    break  # the look has failed; the others would only take their time
            outcome = group.on_poll(found, failed, time.time())
        except PortkeyRequestError as error:
            outcome = group.on_failure(error, time.time())
        outcome.log_to(self.log)
        return outcome

    def _read(self, pages: Pages) -> dict[str, Item]:
        """Ask for the pages of the thread's list of runs that are wanted, and return the runs that were found."""
        from airflow_provider_portkey.client.pagination import MAX_LIMIT, page_query
        from airflow_provider_portkey.jobs.run import RUNS_PATH

        client, ids = self.hook.get_conn(), {"thread_id": self.thread_id}
        try:
            after = next(pages)
            while True:
                try:
                    page = client.get(RUNS_PATH, ids, page_query(limit=MAX_LIMIT, after=after), max_retries=0)
                except PortkeyRequestError as error:
                    after = pages.throw(error)
                else:
                    after = pages.send(page)
        except StopIteration as end:
            found: dict[str, Item] = end.value
            return found

    def _new_trigger(self, **wait: Any) -> PortkeyThreadRunsTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyThreadRunsTrigger

        return PortkeyThreadRunsTrigger(
            thread_id=self.thread_id,
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=self._poller.to_dict(),
            **wait,
        )
