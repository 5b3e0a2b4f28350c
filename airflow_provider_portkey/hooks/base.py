"""The base of the hook: the connection's settings, the client, and the calls that every kind of job has."""

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
    Base of :class:`PortkeyHook`.

    The constructor does not read the connection, so that a hook can be constructed while a DAG is parsed.

    :param portkey_conn_id: The Airflow connection of type ``portkey``.
    :param trace_id: Sent with every request to Portkey; the connection's own trace id wins.
    """

    def __init__(self, portkey_conn_id: str = "portkey_default", *, trace_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.portkey_conn_id = portkey_conn_id
        self.trace_id = trace_id

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection's settings, checked; every credential is masked in Airflow's logs from now on.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        """
        return to_settings(self.get_connection(self.portkey_conn_id))

    async def aget_settings(self) -> ConnectionSettings:
        """Return :attr:`settings` within an event loop; read in one thread, which works on every Airflow from 2.11."""
        from asgiref.sync import sync_to_async

        return await sync_to_async(lambda: self.settings)()

    def uri_of(self, path: str, ids: Mapping[str, object]) -> str:
        """Return the URI of a path for lineage: ``portkey://``, host and port, and the path with its ids."""
        return f"portkey://{urlsplit(self.settings.base_url).netloc}{expand_path(path, ids)}"

    def get_conn(self) -> PortkeyClient:
        """Return the client; its pooled session is the hook's."""
        return self._client

    @cached_property
    def _client(self) -> PortkeyClient:
        return PortkeyClient(self.settings.with_trace_id(self.trace_id))

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and one sentence about the result."""
        return check_connection(lambda: self.settings)

    def get_job(self, job: JobSpec, ids: Mapping[str, str], *, max_retries: int | None = None) -> dict[str, Any]:
        """
        Return one job as Portkey sent it.

        :param job: The kind of job.
        :param ids: The job's ids by name.
        :param max_retries: Instead of the connection's number; a poll is one attempt (``0``).
        :raises PortkeyRequestError: the subclass for the failure; ``PortkeyUnexpectedResponseError`` for another job.
        """
        found = self._client.get(job.path, ids, max_retries=max_retries)
        job.check_response(ids, found)
        return found

    def create_job(self, job: JobSpec, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Create a job and return it; retried only where the request cannot have taken effect.

        :raises ValueError: for a kind without ``create_path``.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        if job.create_path is None:
            raise ValueError(f"A {job.kind} cannot be created.")
        return self._client.post(job.create_path, {}, body)

    def cancel_job(self, job: JobSpec, ids: Mapping[str, str]) -> dict[str, Any]:
        """
        Cancel a job and return it.

        :raises ValueError: for a kind without ``cancel_path``.
        :raises PortkeyRequestError: the subclass for the failure.
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
        Return a lazy iterator over any of Portkey's lists; one page at a time is in memory.

        :param path: Path template below the base URL, with ``{name}`` for each id.
        :param ids: The ids by name.
        :param page_size: Items for each request, 1 to 100.
        :param order: ``"asc"`` or ``"desc"``, by the time of creation.
        :param ordered: ``False`` for a list without the parameter ``order``.
        :param after: Start after the item with this id.
        :param include: Names of additional fields.
        :param max_items: Stop after this number of items.
        :param on_page: Called with the number of items of each page.
        :param query: Further query parameters.
        :raises PortkeyInvalidArgumentError: at the call, naming the wrong parameter.
        :raises PortkeyPaginationError: while iterating, where the server repeats a cursor or an item.
        """
        expand_path(path, ids)  # refuses an invalid id at the call, not at the first item
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
