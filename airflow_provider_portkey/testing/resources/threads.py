"""Threads and their messages, and the list of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import Items, PageQuery, Record
from airflow_provider_portkey.testing.serializers import MODELS, message_object, thread_object
from airflow_provider_portkey.testing.store import Store


@dataclass
class Thread:
    """One thread and its messages, which never change."""

    id: str
    created_at: int
    metadata: Mapping[str, Any]
    messages: Items[Record] = field(default_factory=Items)
    #: The same messages by the run that created them, so that the filter needs no search.
    messages_by_run: defaultdict[str, Items[Record]] = field(default_factory=lambda: defaultdict(Items))


class Threads:
    """
    All threads.

    :param store: shared with the other resources.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: dict[str, Thread] = {}

    def find(self, thread_id: str) -> Thread:
        """
        Find a thread.

        :raises ApiError: 404 for an unknown one.
        """
        if thread_id not in self._threads:
            raise not_found("thread", thread_id)
        return self._threads[thread_id]

    def ensure(self, thread_id: str | None = None, *, metadata: Mapping[str, Any] | None = None) -> Thread:
        """Return a thread, created where there is none."""
        thread_id = thread_id or self._store.new_id("thread", self._threads)
        return self._threads.setdefault(thread_id, Thread(thread_id, int(self._store.clock()), metadata or {}))

    def add_messages(
        self, *, thread_id: str, texts: Iterable[str], role: Literal["user", "assistant"] = "user"
    ) -> list[dict[str, Any]]:
        """
        Append messages to a thread, created where there is none.

        :return: the objects of the new messages.
        """
        with self._store.lock:
            thread = self.ensure(thread_id)
            return [self.add_message(thread, content=content, role=role) for content in texts]

    def add_message(
        self, thread: Thread, *, created_at: int | None = None, run_id: str | None = None, **message: Any
    ) -> dict[str, Any]:
        """
        Append a message to a thread; the parameters are those of :func:`.message_object`.

        :return: the message's object.
        """
        created_at = int(self._store.clock()) if created_at is None else created_at
        ids = {"id": self._store.new_id("msg"), "thread_id": thread.id, "run_id": run_id}
        record = Record(message_object(ids, created_at=created_at, **message))
        if run_id is not None:
            thread.messages_by_run[run_id].add(record)
        return thread.messages.add(record).serialize()

    def create(self, body: Mapping[str, Any]) -> Thread:
        """
        Create the thread that a request describes.

        :raises ApiError: 400 for an invalid message.
        """
        thread = self.ensure(metadata=body.get("metadata"))
        for message in body.get("messages") or []:
            self.create_message(thread, message)
        return thread

    def create_message(self, thread: Thread, body: Any) -> dict[str, Any]:
        """
        Create the message that a request describes.

        :raises ApiError: 400 for an invalid one.
        """
        if not isinstance(body, Mapping):
            raise bad_request("A message has to be a JSON object.")
        role, content = body.get("role"), body.get("content")
        if role not in ("user", "assistant"):
            raise bad_request(f"'role' has to be 'user' or 'assistant', not {role!r}.", param="role")
        if not isinstance(content, str | list):
            raise bad_request("'content' has to be a string or a list of parts.", param="content")
        return self.add_message(thread, content=content, role=role, metadata=body.get("metadata"))

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        messages = "/threads/{thread_id}/messages"
        yield "GET", "/models", lambda request: MODELS
        yield "POST", "/threads", lambda request: thread_object(self.create(request.body))
        yield "GET", messages, self._list_messages
        yield "POST", messages, lambda request: self.create_message(self._find(request), request.body)
        yield "GET", messages + "/{message_id}", self._get_message

    def _list_messages(self, request: ApiRequest) -> dict[str, Any]:
        thread, run_id = self._find(request), request.query.get("run_id")
        messages = thread.messages_by_run.get(run_id, Items()) if run_id else thread.messages
        return messages.list_page(PageQuery.parse(request.query), Record.serialize)

    def _get_message(self, request: ApiRequest) -> dict[str, Any]:
        return self._find(request).messages.find("message", request.ids["message_id"]).serialize()

    def _find(self, request: ApiRequest) -> Thread:
        return self.find(request.ids["thread_id"])
