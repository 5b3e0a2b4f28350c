"""The calls of threads: runs, steps, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.lists import MESSAGES, RUN_STEPS, RUNS
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.parameters import MAX_LIMIT


class ThreadsMixin(BasePortkeyHook):
    """One method for each call on a thread, its runs, steps and messages."""

    def get_run(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Return one run."""
        return self.get_job(RUN, {"thread_id": thread_id, "run_id": run_id})

    def create_run(self, thread_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a run on a thread and return it; retried only where the request cannot have taken effect."""
        return self._client.post(RUNS.path, {"thread_id": thread_id}, body)

    def create_thread_and_run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a thread and a run on it in one call, and return the run; retried as in :meth:`create_run`."""
        return self._client.post("/threads/runs", {}, body)

    def submit_tool_outputs(
        self, thread_id: str, run_id: str, tool_outputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """
        Submit the tool outputs that a run requires, and return the run; retried as in :meth:`create_run`.

        :param tool_outputs: ``{"tool_call_id": str, "output": str}`` for every tool call of the run.
        """
        ids = {"thread_id": thread_id, "run_id": run_id}
        run = self._client.post(RUN.path + "/submit_tool_outputs", ids, {"tool_outputs": list(tool_outputs)})
        RUN.check_response(ids, run)
        return run

    def cancel_run(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Cancel a run and return it, usually with status ``cancelling``."""
        return self.cancel_job(RUN, {"thread_id": thread_id, "run_id": run_id})

    def list_runs_page(
        self,
        thread_id: str,
        limit: int = 20,
        order: str = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> dict[str, Any]:
        """
        Return one page of a thread's runs, as Portkey sent it.

        :param limit: Runs on the page, 1 to 100.
        :param order: ``"asc"`` or ``"desc"``, by the time of creation.
        :param after: Id of the run before the page's first one.
        :param before: Id of the run after the page's last one.
        :return: ``{"object": "list", "data": [run, ...], "first_id", "last_id", "has_more"}``
        """
        return self.list_page(RUNS, {"thread_id": thread_id}, limit, order=order, after=after, before=before)

    def iter_runs(
        self,
        thread_id: str,
        *,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        after: str | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """Return a lazy iterator over a thread's runs; parameters and exceptions as in :meth:`list`."""
        paging: dict[str, Any] = {"page_size": page_size, "after": after, "max_items": max_items, "on_page": on_page}
        return self.list(RUNS, {"thread_id": thread_id}, order=order, **paging)

    def list_run_steps_page(
        self,
        thread_id: str,
        run_id: str,
        limit: int = 20,
        order: str = "desc",
        after: str | None = None,
        before: str | None = None,
        include: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """
        Return one page of a run's steps, as Portkey sent it.

        :param include: Names of additional fields, such as
            ``step_details.tool_calls[*].file_search.results[*].content``; the rest as in :meth:`list_runs_page`.
        """
        ids = {"thread_id": thread_id, "run_id": run_id}
        return self.list_page(RUN_STEPS, ids, limit, order=order, after=after, before=before, include=include)

    def iter_run_steps(
        self,
        thread_id: str,
        run_id: str,
        *,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        after: str | None = None,
        include: Sequence[str] | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """
        Return a lazy iterator over a run's steps; parameters and exceptions as in :meth:`list`.

        :param include: As in :meth:`list_run_steps_page`.
        """
        paging: dict[str, Any] = {"page_size": page_size, "after": after, "max_items": max_items, "on_page": on_page}
        return self.list(RUN_STEPS, {"thread_id": thread_id, "run_id": run_id}, order=order, include=include, **paging)

    def get_run_step(
        self, thread_id: str, run_id: str, step_id: str, include: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return one step of a run; ``include`` as in :meth:`list_run_steps_page`."""
        ids = {"thread_id": thread_id, "run_id": run_id, "step_id": step_id}
        return self._client.get(RUN_STEPS.path + "/{step_id}", ids, RUN_STEPS.query(include=include))

    def iter_messages(
        self,
        thread_id: str,
        *,
        run_id: str | None = None,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        after: str | None = None,
        max_items: int | None = None,
    ) -> Iterator[Item]:
        """
        Return a lazy iterator over a thread's messages; parameters and exceptions as in :meth:`list`.

        :param run_id: Only the messages of this run.
        """
        paging: dict[str, Any] = {"page_size": page_size, "after": after, "max_items": max_items}
        return self.list(MESSAGES, {"thread_id": thread_id}, order=order, run_id=run_id, **paging)

    def get_message(self, thread_id: str, message_id: str) -> dict[str, Any]:
        """Return one message of a thread."""
        return self._client.get(MESSAGES.path + "/{message_id}", {"thread_id": thread_id, "message_id": message_id})
