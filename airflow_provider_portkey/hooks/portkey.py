"""An Airflow connection becomes a Portkey client; one method for each Portkey call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_portkey.client.pagination import MAX_LIMIT, Item, Query, iter_items, page_query
from airflow_provider_portkey.client.paths import fill_path
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.hooks.connection import form_behaviour, form_widgets, to_credentials
from airflow_provider_portkey.hooks.probe import probe
from airflow_provider_portkey.jobs.run import RUN

if TYPE_CHECKING:
    from airflow_provider_portkey.client.credentials import Credentials
    from airflow_provider_portkey.jobs.base import Job

_RUNS = "/threads/{thread_id}/runs"
_STEPS = RUN.path + "/steps"
_STEP = _STEPS + "/{step_id}"
_MESSAGES = "/threads/{thread_id}/messages"
_MESSAGE = _MESSAGES + "/{message_id}"


class PortkeyHook(BaseHook):
    """
    Talk to Portkey with the credentials of an Airflow connection.

    The connection is looked up at the first use, never here, so that a hook can be made while a DAG is parsed.

    :param portkey_conn_id: The Airflow connection of type ``portkey``.
    """

    conn_name_attr = "portkey_conn_id"
    default_conn_name = "portkey_default"
    conn_type = "portkey"
    hook_name = "Portkey"

    def __init__(self, portkey_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.portkey_conn_id = portkey_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's standard fields, for Airflow before 3.2."""
        return form_behaviour()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields, for Airflow before 3.2."""
        return form_widgets()

    @cached_property
    def credentials(self) -> Credentials:
        """
        The connection's fields, checked; every credential among them is masked in Airflow's logs from here on.

        :raises PortkeyConnectionInvalid: naming every field that is wrong.
        """
        return to_credentials(self.get_connection(self.portkey_conn_id))

    async def aget_credentials(self) -> Credentials:
        """Return :attr:`credentials`, read in one step off the event loop, which works on every Airflow from 2.11."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(lambda: self.credentials)()

    def get_conn(self) -> PortkeyClient:
        """Return the client, with one pooled session for the life of the hook."""
        return self._client

    @cached_property
    def _client(self) -> PortkeyClient:
        return PortkeyClient(self.credentials)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether Portkey takes the credentials, and one sentence about what was found."""
        return probe(lambda: self.credentials)

    def get_job(self, job: Job, ids: Mapping[str, str], *, max_retries: int | None = None) -> dict[str, Any]:
        """
        Return one job as Portkey sent it.

        :param job: Which kind.
        :param ids: Which one.
        :param max_retries: In place of the connection's own.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self._client.get(job.path, ids, max_retries=max_retries)

    def create_job(self, job: Job, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Make a new job and return it. It is sent again only where it was surely not carried out.

        :raises ValueError: for a kind that cannot be made so.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        if job.create_path is None:
            raise ValueError(f"A {job.kind} cannot be created.")
        return self._client.post(job.create_path, {}, body)

    def cancel_job(self, job: Job, ids: Mapping[str, str]) -> dict[str, Any]:
        """
        Ask Portkey to cancel a job and return the job.

        :raises ValueError: for a kind that cannot be cancelled.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        if job.cancel_path is None:
            raise ValueError(f"A {job.kind} cannot be cancelled.")
        return self._client.post(job.cancel_path, ids)

    def get_run(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Return one run."""
        return self.get_job(RUN, {"thread_id": thread_id, "run_id": run_id})

    def cancel_run(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Ask for a run to be cancelled and return it, as a rule with status ``cancelling``."""
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
        query = page_query(limit=limit, order=order, after=after, before=before)
        return self._client.get(_RUNS, {"thread_id": thread_id}, query)

    def iter_runs(
        self,
        thread_id: str,
        *,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        after: str | None = None,
        max_items: int | None = None,
    ) -> Iterator[Item]:
        """
        Return an iterator over a thread's runs that keeps one page in memory.

        :param page_size: Runs asked for at once, 1 to 100.
        :param order: ``"asc"`` or ``"desc"``, by the time of creation.
        :param after: Start behind the run with this id.
        :param max_items: Stop after so many.
        :raises PortkeyPaginationError: where the server repeats a cursor or a run.
        """
        fetch = self._fetch(_RUNS, {"thread_id": thread_id})
        return iter_items(fetch, page_size=page_size, order=order, after=after, max_items=max_items)

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

        :param include: Names of further fields, such as
            ``step_details.tool_calls[*].file_search.results[*].content``; the rest as in :meth:`list_runs_page`.
        """
        query = page_query(limit=limit, order=order, after=after, before=before, include=include)
        return self._client.get(_STEPS, {"thread_id": thread_id, "run_id": run_id}, query)

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
        Return an iterator over a run's steps that keeps one page in memory.

        :param include: As in :meth:`list_run_steps_page`.
        :param on_page: Called with the number of steps of each page that came; the rest as in :meth:`iter_runs`.
        """
        fetch = self._fetch(_STEPS, {"thread_id": thread_id, "run_id": run_id})
        return iter_items(
            fetch,
            page_size=page_size,
            order=order,
            after=after,
            include=include,
            max_items=max_items,
            on_page=on_page,
        )

    def get_run_step(
        self, thread_id: str, run_id: str, step_id: str, include: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return one step of a run; ``include`` as in :meth:`list_run_steps_page`."""
        query = [pair for pair in page_query(include=include) if pair[0] == "include[]"]
        return self._client.get(_STEP, {"thread_id": thread_id, "run_id": run_id, "step_id": step_id}, query)

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
        Return an iterator over a thread's messages that keeps one page in memory.

        :param run_id: Only the messages that this run wrote; the rest as in :meth:`iter_runs`.
        """
        fetch = self._fetch(_MESSAGES, {"thread_id": thread_id}, [("run_id", run_id)] if run_id else [])
        return iter_items(fetch, page_size=page_size, order=order, after=after, max_items=max_items)

    def get_message(self, thread_id: str, message_id: str) -> dict[str, Any]:
        """Return one message of a thread."""
        return self._client.get(_MESSAGE, {"thread_id": thread_id, "message_id": message_id})

    def _fetch(
        self, path: str, ids: Mapping[str, str], fixed: Query | None = None
    ) -> Callable[[Query], Mapping[str, Any]]:
        fill_path(path, ids)  # a bad id is refused now, not at the first item
        return lambda query: self._client.get(path, ids, [*query, *(fixed or ())])
