"""An Airflow connection becomes a Portkey client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_portkey.client.pagination import MAX_LIMIT, Item, Query, iter_items
from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.hooks.connection import to_settings
from airflow_provider_portkey.hooks.connection_test import check_connection

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings
    from airflow_provider_portkey.jobs.spec import JobSpec


class BasePortkeyHook(BaseHook):
    """
    Hold the connection and the client, and know the calls that every kind of job has.

    The connection is looked up at the first use, never here, so that a hook can be made while a DAG is parsed.

    :param portkey_conn_id: The Airflow connection of type ``portkey``.
    :param trace_id: Goes with every request to Portkey, unless the connection itself has one.
    """

    def __init__(self, portkey_conn_id: str = "portkey_default", *, trace_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.portkey_conn_id = portkey_conn_id
        self.trace_id = trace_id

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection's fields, checked; every credential among them is masked in Airflow's logs from here on.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        """
        return to_settings(self.get_connection(self.portkey_conn_id))

    async def aget_settings(self) -> ConnectionSettings:
        """Return :attr:`settings`, read in one step off the event loop, which works on every Airflow from 2.11."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(lambda: self.settings)()

    def uri_of(self, path: str, ids: Mapping[str, object]) -> str:
        """Return how lineage calls what is at a path: ``portkey://``, the host, and the path with its ids."""
        return f"portkey://{urlsplit(self.settings.base_url).netloc}{expand_path(path, ids)}"

    def get_conn(self) -> PortkeyClient:
        """Return the client, with one pooled session for the life of the hook."""
        return self._client

    @cached_property
    def _client(self) -> PortkeyClient:
        return PortkeyClient(self.settings.with_trace_id(self.trace_id))

    def test_connection(self) -> tuple[bool, str]:
        """Return whether Portkey takes the settings, and one sentence about what was found."""
        return check_connection(lambda: self.settings)

    def get_job(self, job: JobSpec, ids: Mapping[str, str], *, max_retries: int | None = None) -> dict[str, Any]:
        """
        Return one job as Portkey sent it.

        :param job: Which kind.
        :param ids: Which one.
        :param max_retries: In place of the connection's own.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self._client.get(job.path, ids, max_retries=max_retries)

    def create_job(self, job: JobSpec, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Make a new job and return it. It is sent again only where it was surely not carried out.

        :raises ValueError: for a kind that cannot be made so.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        if job.create_path is None:
            raise ValueError(f"A {job.kind} cannot be created.")
        return self._client.post(job.create_path, {}, body)

    def cancel_job(self, job: JobSpec, ids: Mapping[str, str]) -> dict[str, Any]:
        """
        Ask Portkey to cancel a job and return the job.

        :raises ValueError: for a kind that cannot be cancelled.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        if job.cancel_path is None:
            raise ValueError(f"A {job.kind} cannot be cancelled.")
        return self._client.post(job.cancel_path, ids)

    def iter_list(
        self,
        path: str,
        ids: Mapping[str, str],
        *,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        ordered: bool = True,
        after: str | None = None,
        include: Sequence[str] | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
        query: Query | None = None,
    ) -> Iterator[Item]:
        """
        Return an iterator over any of Portkey's lists that keeps one page in task_state.

        :param path: Below the base URL, with ``{name}`` where an id goes.
        :param ids: The ids by name; a bad one is refused now, not at the first item.
        :param page_size: Items asked for at once, 1 to 100.
        :param order: ``"asc"`` or ``"desc"``, by the time of creation.
        :param ordered: False for a list that takes no order.
        :param after: Start behind the item with this id.
        :param include: Names of further fields to ask for.
        :param max_items: Stop after so many.
        :param on_page: Called with the number of items of each page that came.
        :param query: Further query parameters.
        :raises PortkeyInvalidArgumentError: at the call, naming what is wrong.
        :raises PortkeyPaginationError: while iterating, where the server repeats a cursor or an item.
        """
        expand_path(path, ids)
        return iter_items(
            lambda page: self._client.get(path, ids, [*page, *(query or ())]),
            page_size=page_size,
            order=order,
            ordered=ordered,
            after=after,
            include=include,
            max_items=max_items,
            on_page=on_page,
        )
