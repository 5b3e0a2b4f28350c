"""Threads and their messages, and the list of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.store import Items, Store

ASSISTANT_ID = "asst_000001"

_MODEL = {"id": "mock-model", "object": "model", "created": 1700000000, "owned_by": "mock-server"}

_MESSAGE: dict[str, Any] = {"object": "thread.message", "status": "completed", "attachments": [], "metadata": {}}


class Threads:
    """All threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: Items[dict[str, Any]] = Items()
        #: The messages by thread, and by thread and the run that created them.
        self._messages: defaultdict[tuple[str, ...], Items[dict[str, Any]]] = defaultdict(Items)

    def find(self, thread_id: str) -> dict[str, Any]:
        """Find a thread, or raise a 404."""
        return self._threads.find("thread", thread_id)

    def ensure(self, thread_id: str) -> dict[str, Any]:
        """Return a thread, created where there is none."""
        if thread_id not in self._threads:
            shown = {"id": thread_id, "object": "thread", "created_at": int(self._store.clock())}
            self._threads.add(thread_id, {**shown, "metadata": {}, "tool_resources": {}})
        return self.find(thread_id)

    def add_messages(
        self, *, thread_id: str, texts: Iterable[str], role: Literal["user", "assistant"] = "user"
    ) -> list[dict[str, Any]]:
        """Append messages to a thread, created where there is none, and return their objects."""
        with self._store.lock:
            self.ensure(thread_id)
            return [self.add_message(thread_id, content=content, role=role) for content in texts]

    def add_message(self, thread_id: str, *, content: str | list[Any], **fields: Any) -> dict[str, Any]:
        """Append a message, with its ``role`` and other fields that are not to be generated, and return its object."""
        if isinstance(content, str):
            content = [{"type": "text", "text": {"value": content, "annotations": []}}]
        message = {**_MESSAGE, "id": self._store.new_id("msg"), "thread_id": thread_id, "content": content}
        message |= {"created_at": int(self._store.clock()), "run_id": None, **fields}
        message |= {"assistant_id": ASSISTANT_ID if message["role"] == "assistant" else None}
        self._messages[self.find(thread_id)["id"], str(message["run_id"])].add(message["id"], message)
        return self._messages[thread_id,].add(message["id"], message)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create the thread that a request describes; an invalid message is a 400."""
        thread_id = self._store.new_id("thread", self._threads)
        shown = self.ensure(thread_id)
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
        thread_id, run_id = self.find(request.ids["thread_id"])["id"], request.query.get("run_id")
        return self._messages[(thread_id, run_id) if run_id else (thread_id,)].page(request.query, dict)

    def _get_message(self, request: ApiRequest) -> dict[str, Any]:
        thread_id = self.find(request.ids["thread_id"])["id"]
        return self._messages[thread_id,].find("message", request.ids["message_id"])
