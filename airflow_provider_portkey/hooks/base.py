"""The base of the hook: the connection's settings, the client, and the calls that every kind of job has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_portkey.client.pagination import Item, iter_items
from airflow_provider_portkey.client.paths import expand_path, path_ids
from airflow_provider_portkey.client.redaction import escape_unprintable
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyConnectionLookupError,
    PortkeyError,
    PortkeyInvalidArgumentError,
)
from airflow_provider_portkey.hooks.connection import current_task_metadata, to_settings, warn_once
from airflow_provider_portkey.hooks.connection_test import check_connection
from airflow_provider_portkey.parameters import MAX_LIMIT, PARAMETERS

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings
    from airflow_provider_portkey.jobs.list_spec import ListSpec
    from airflow_provider_portkey.jobs.spec import JobSpec


class BasePortkeyHook(BaseHook):
    """
    Base of :class:`PortkeyHook`.

    The constructor does not read the connection, so that a hook can be constructed while a DAG is parsed.

    :param portkey_conn_id: The Airflow connection of type ``portkey``.
    :param trace_id: Sent with every request to Portkey; the connection's own trace id wins.
    :param task_metadata: Sent with every request as Portkey metadata, unless the connection says
        ``omit_task_metadata``; the connection's own keys win. ``None`` for the task that runs at the time of the first
        request, if one does.
    """

    def __init__(
        self,
        portkey_conn_id: str = "portkey_default",
        *,
        trace_id: str | None = None,
        task_metadata: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task_metadata = task_metadata
        self.portkey_conn_id = portkey_conn_id
        self.trace_id = trace_id
        #: Whether the connection's warnings are logged; off where an earlier process of the task has logged them.
        self.warns = True

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The connection's settings, checked; every credential is masked in Airflow's logs from now on.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        """
        settings = to_settings(self.get_connection(self.portkey_conn_id))
        if self.warns:
            warn_once(settings, self.portkey_conn_id, self.trace_id, self.log)
        return settings

    async def aget_settings(self) -> ConnectionSettings:
        """
        Return :attr:`settings` within an event loop; read in one thread, which works on every Airflow from 2.11.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        :raises PortkeyConnectionLookupError: where Airflow did not return the connection.
        """
        from asgiref.sync import sync_to_async

        return await sync_to_async(self.look_up_settings)()

    def reread_connection(self) -> bool:
        """
        Read the connection again, and return whether its settings have changed; further requests use the new ones.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        :raises PortkeyConnectionLookupError: where Airflow did not return the connection.
        """
        client = self._client
        self.__dict__.pop("settings", None)
        if self._for_task(self.look_up_settings()) == client.settings:
            return False
        client.close()
        del self._client
        return True

    def look_up_settings(self) -> ConnectionSettings:
        """
        Return :attr:`settings`, where a wait outlives a failure of the look-up.

        :raises PortkeyConnectionInvalidError: naming every field that is wrong.
        :raises PortkeyConnectionLookupError: where Airflow did not return the connection.
        """
        try:
            return self.settings
        except PortkeyError:
            raise
        except Exception as error:  # of a secrets backend, of Airflow's API server, of its database
            problem = f"The connection {self.portkey_conn_id!r} could not be read: {type(error).__name__}: {error}"
        raise PortkeyConnectionLookupError(escape_unprintable(problem), trace_id=self.trace_id)

    def uri_of(self, path: str, ids: Mapping[str, object]) -> str:
        """Return the URI of a path for lineage: ``portkey://``, host and port, and the path with its ids."""
        return f"portkey://{urlsplit(self.settings.base_url).netloc}{expand_path(path, ids)}"

    def get_conn(self) -> PortkeyClient:
        """Return the client; its pooled session is the hook's."""
        return self._client

    @cached_property
    def _client(self) -> PortkeyClient:
        return PortkeyClient(self._for_task(self.settings))

    @property
    def job_metadata(self) -> dict[str, str]:
        """Which task creates a job, for the job's own metadata; empty where the connection omits it."""
        return dict(self._client.settings.task_metadata)

    def _for_task(self, settings: ConnectionSettings) -> ConnectionSettings:
        if self.task_metadata is None:
            self.task_metadata = current_task_metadata()
        return settings.for_task(self.trace_id, self.task_metadata)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and one sentence about the result."""
        self.warns = False
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

    def create_job(self, job: JobSpec, body: Mapping[str, Any], ids: Mapping[str, str] | None = None) -> dict[str, Any]:
        """
        Create a job and return it; retried only where the request cannot have taken effect.

        :param job: The kind of job.
        :param body: The body of the request.
        :param ids: The ids of ``create_path`` by name.
        :raises ValueError: for a kind without ``create_path``.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        if job.create_path is None:
            raise ValueError(f"A {job.kind} cannot be created.")
        return self._client.post(job.create_path, ids or {}, body)

    def cancel_job(self, job: JobSpec, ids: Mapping[str, str]) -> dict[str, Any]:
        """
        Cancel a job and return it.

        :raises ValueError: for a kind without ``cancel_path``.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        if job.cancel_path is None:
            raise ValueError(f"A {job.kind} cannot be cancelled.")
        return self._client.post(job.cancel_path, ids, job.cancel_body)

    def list(
        self,
        list_spec: ListSpec,
        ids: Mapping[str, str] | None = None,
        *,
        page_size: int = MAX_LIMIT,
        max_items: int | None = None,
        order: str | None = None,
        after: str | None = None,
        on_page: Callable[[int], None] | None = None,
        **parameters: Any,
    ) -> Iterator[Item]:
        """
        Return a lazy iterator over every item of any list; one page at a time is in memory.

        :param list_spec: The list.
        :param ids: A value for each ``{name}`` in the path of the list.
        :param page_size: Items for each request, 1 to 100.
        :param max_items: Stop after this number of items.
        :param order: ``"asc"`` or ``"desc"``, by the time of creation; ``None`` for the order of the list itself.
        :param after: Start after the item with this id.
        :param on_page: Called with the number of items of each page.
        :param parameters: Further query parameters of the list, such as ``include`` or ``purpose``.
        :raises PortkeyInvalidArgumentError: at the call, naming the wrong parameter.
        :raises PortkeyUnexpectedResponseError: while iterating, where a page is no page of the list.
        :raises PortkeyPaginationError: while iterating, where the server repeats a cursor, an item or a page.
        """
        for name in ("before", "page", "limit"):
            if parameters.get(name) is not None:
                raise PortkeyInvalidArgumentError(name, parameters[name], "None: it belongs to one page, see list_page")
        # All arguments are checked at the call, not at the first item.
        ids = path_ids(list_spec.path, ids)
        expand_path(list_spec.path, ids)
        page_size = PARAMETERS["page_size"]("page_size", page_size)
        list_spec.query(order=order, after=after, **parameters)

        def fetch(**position: Any) -> Mapping[str, Any]:
            query = list_spec.query(**position, order=order, **parameters)
            return self._client.get(list_spec.path, ids, query)

        pager = list_spec.pager(page_size=page_size, after=after)
        return iter_items(fetch, pager, read=list_spec.items_of, max_items=max_items, on_page=on_page)

    def list_page(
        self,
        list_spec: ListSpec,
        ids: Mapping[str, str] | None = None,
        limit: int = 20,
        *,
        order: str | None = None,
        after: str | None = None,
        before: str | None = None,
        page: int | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """
        Return one page of any list, as Portkey sent it.

        :param limit: Items on the page, 1 to 100.
        :param before: Id of the item after the page's last one.
        :param page: The number of the page, for a list with page numbers; the rest as in :meth:`list`.
        :raises PortkeyInvalidArgumentError: naming the wrong parameter.
        """
        query = list_spec.query(limit=limit, order=order, after=after, before=before, page=page, **parameters)
        return self._client.get(list_spec.path, path_ids(list_spec.path, ids), query)
