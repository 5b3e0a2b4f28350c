"""The texts behind ``message_creation`` steps, which hold no more than a message's id."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.client.pagination import MAX_LIMIT
from airflow_provider_portkey.exceptions import PortkeyNotFoundError

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: Messages kept that no step has asked for yet. Steps and messages come in the same order, so that few are needed.
_KEPT = 2 * MAX_LIMIT


class MessageTexts:
    """
    Join the texts of a run's messages to its steps, both read page by page.

    :param hook: Where the messages come from.
    :param order: The order in which the steps come.
    """

    def __init__(self, hook: PortkeyHook, thread_id: str, run_id: str, order: str) -> None:
        self._hook = hook
        self._thread_id = thread_id
        self._messages = hook.iter_messages(thread_id, run_id=run_id, order=order)
        self._kept: OrderedDict[str, str | None] = OrderedDict()

    def of(self, step: dict[str, Any]) -> str | None:
        """Return the text of the message that a step wrote; ``None`` for other steps and where it is gone."""
        message_id = _message_id(step)
        if message_id is None:
            return None
        if message_id not in self._kept:
            self._look_ahead(message_id)
        if message_id in self._kept:
            return self._kept.pop(message_id)
        try:
            return _text(self._hook.get_message(self._thread_id, message_id))
        except PortkeyNotFoundError:
            return None

    def _look_ahead(self, message_id: str) -> None:
        for message in islice(self._messages, _KEPT):
            self._kept[message["id"]] = _text(message)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            if message["id"] == message_id:
                return


def _message_id(step: dict[str, Any]) -> str | None:
    value: Any = step
    for name in ("step_details", "message_creation", "message_id"):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value else None


def _text(message: dict[str, Any]) -> str | None:
    parts = [part.get("text") for part in message.get("content") or () if isinstance(part, dict)]
    texts = [part["value"] for part in parts if isinstance(part, dict) and isinstance(part.get("value"), str)]
    return "\n".join(texts) if texts else None
