"""Threads and their messages, and the list of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import Items, PageQuery
from airflow_provider_portkey.testing.serializers import MODELS, message_object, thread_object
from airflow_provider_portkey.testing.store import Store


@dataclass(slots=True, kw_only=True)
class Message:
    """One message of a thread.

    :param content: a string, or the API's own list of content parts.
    :param created_at: seconds since the epoch.
    :param run_id: the run that created it, if any.
    """

    id: str
    thread_id: str
    created_at: int
    role: str
    content: str | list[Any]
    run_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Thread:
    """One thread and its messages."""

    id: str
    created_at: int
    metadata: Mapping[str, Any]
    messages: Items[Message] = field(default_factory=Items)
    #: The same messages by the run that created them, so that the filter needs no search.
    messages_by_run: defaultdict[str, Items[Message]] = field(default_factory=lambda: defaultdict(Items))


class Threads:
    """All threads.

    :param store: shared with the other resources.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: dict[str, Thread] = {}

    def find(self, thread_id: str) -> Thread:
        """Find a thread.

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
        """Append messages to a thread, created where there is none.

        :return: the objects of the new messages.
        """
        with self._store.lock:
            thread = self.ensure(thread_id)
            return [message_object(self.add_message(thread, content=content, role=role)) for content in texts]

    def add_message(self, thread: Thread, **message: Any) -> Message:
        """Append a message to a thread; the parameters are those of :class:`Message`."""
        new_id = self._store.new_id("msg")
        created_at = int(self._store.clock())
        added = Message(**{"id": new_id, "thread_id": thread.id, "created_at": created_at, **message})
        if added.run_id is not None:
            thread.messages_by_run[added.run_id].add(added)
        return thread.messages.add(added)

    def create(self, body: Mapping[str, Any]) -> Thread:
        """Create the thread that a request describes.

        :raises ApiError: 400 for an invalid message.
        """
        thread = self.ensure(metadata=body.get("metadata"))
        for message in body.get("messages") or []:
            self.create_message(thread, message)
        return thread

    def create_message(self, thread: Thread, body: Any) -> dict[str, Any]:
        """Create the message that a request describes.

        :raises ApiError: 400 for an invalid one.
        """
        if not isinstance(body, Mapping):
            raise bad_request("A message has to be a JSON object.")
        role, content = body.get("role"), body.get("content")
        if role not in ("user", "assistant"):
            raise bad_request(f"'role' has to be 'user' or 'assistant', not {role!r}.", param="role")
        if not isinstance(content, str | list):
            raise bad_request("'content' has to be a string or a list of parts.", param="content")
        metadata = body.get("metadata") or {}
        return message_object(self.add_message(thread, content=content, role=role, metadata=metadata))

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
        return messages.list_page(PageQuery.parse(request.query), message_object)

    def _get_message(self, request: ApiRequest) -> dict[str, Any]:
        return message_object(self._find(request).messages.find("message", request.ids["message_id"]))

    def _find(self, request: ApiRequest) -> Thread:
        return self.find(request.ids["thread_id"])
