"""Threads and their messages, and the list of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.store import Items, Store

ASSISTANT_ID = "asst_000001"

_MODEL = {"id": "mock-model", "object": "model", "created": 1700000000, "owned_by": "mock-server"}

_MESSAGE: dict[str, Any] = {"object": "thread.message", "status": "completed", "attachments": [], "metadata": {}}


@dataclass
class Thread:
    """One thread's object, and its messages: all of them, and by the run that created them."""

    shown: dict[str, Any]
    messages: Items[dict[str, Any]] = field(default_factory=Items)
    messages_by_run: defaultdict[str, Items[dict[str, Any]]] = field(default_factory=lambda: defaultdict(Items))


class Threads:
    """All threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: Items[Thread] = Items()

    def find(self, thread_id: str) -> Thread:
        """Find a thread, or raise a 404."""
        return self._threads.find("thread", thread_id)

    def ensure(self, thread_id: str) -> Thread:
        """Return a thread, created where there is none."""
        if thread_id not in self._threads:
            shown = {"id": thread_id, "object": "thread", "created_at": int(self._store.clock())}
            self._threads.add(thread_id, Thread({**shown, "metadata": {}, "tool_resources": {}}))
        return self.find(thread_id)

    def add_messages(
        self, *, thread_id: str, texts: Iterable[str], role: Literal["user", "assistant"] = "user"
    ) -> list[dict[str, Any]]:
        """
        Append messages to a thread, created where there is none.

        :return: the objects of the new messages.
        """
        with self._store.lock:
            self.ensure(thread_id)
            return [self.add_message(thread_id, content=content, role=role) for content in texts]

    def add_message(self, thread_id: str, *, content: str | list[Any], **fields: Any) -> dict[str, Any]:
        """
        Append a message to a thread.

        :param content: a string, or the API's own list of content parts.
        :param fields: those of the message's object that are not to be generated; ``role`` in any case.
        :return: the message's object.
        """
        if isinstance(content, str):
            content = [{"type": "text", "text": {"value": content, "annotations": []}}]
        message = {**_MESSAGE, "id": self._store.new_id("msg"), "thread_id": thread_id, "content": content}
        message |= {"created_at": int(self._store.clock()), "run_id": None, **fields}
        message |= {"assistant_id": ASSISTANT_ID if message["role"] == "assistant" else None}
        thread = self.find(thread_id)
        if message["run_id"] is not None:
            thread.messages_by_run[message["run_id"]].add(message["id"], message)
        return thread.messages.add(message["id"], message)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create the thread that a request describes; an invalid message is a 400."""
        thread_id = self._store.new_id("thread", self._threads)
        shown = self.ensure(thread_id).shown
        shown["metadata"] = body.get("metadata") or {}
        for message in body.get("messages") or []:
            self.create_message(thread_id, message)
        return shown

    def create_message(self, thread_id: str, body: Any) -> dict[str, Any]:
        """Create the message that a request describes; an invalid one is a 400."""
        fields = body if isinstance(body, Mapping) else {}
        role, content, metadata = fields.get("role"), fields.get("content"), fields.get("metadata") or {}
        if role not in ("user", "assistant") or not isinstance(content, str | list):
            raise bad_request("A message has the role 'user' or 'assistant', and a content: a string or a list.")
        return self.add_message(thread_id, content=content, role=role, metadata=metadata)

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        messages = "/v1/threads/{thread_id}/messages"
        yield "GET", "/v1/models", lambda request: {"object": "list", "data": [_MODEL]}
        yield "POST", "/v1/threads", lambda request: self.create(request.body)
        yield "POST", messages, lambda request: self.create_message(request.ids["thread_id"], request.body)
        yield "GET", messages, self._list_messages
        yield "GET", messages + "/{message_id}", self._get_message

    def _list_messages(self, request: ApiRequest) -> dict[str, Any]:
        thread, run_id = self.find(request.ids["thread_id"]), request.query.get("run_id")
        messages = thread.messages_by_run.get(run_id, Items()) if run_id else thread.messages
        return messages.page(request.query, dict)

    def _get_message(self, request: ApiRequest) -> dict[str, Any]:
        return self.find(request.ids["thread_id"]).messages.find("message", request.ids["message_id"])
