"""Steps as rows, with the texts of ``message_creation`` steps, which hold only the id of a message."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyNotFoundError
from airflow_provider_portkey.jobs.lists import MESSAGES, RUN_STEPS
from airflow_provider_portkey.parameters import MAX_LIMIT

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: The column with the text of the message that a step wrote.
MESSAGE_TEXT = "message_text"

#: Messages in memory whose step was not read yet. Steps and messages have the same order, so that few are needed.
_MAX_BUFFERED = 2 * MAX_LIMIT


def step_columns(include_messages: bool) -> Columns:
    """Return the columns of a table of steps."""
    return dict(RUN_STEPS.columns) | ({MESSAGE_TEXT: "text"} if include_messages else {})


def iter_step_rows(
    hook: PortkeyHook,
    thread_id: str,
    run_id: str,
    *,
    order: str | None,
    include: Sequence[str] | None,
    include_messages: bool,
    on_page: Callable[[int], None],
    **paging: Any,
) -> Iterator[Row]:
    """
    Return an iterator over a run's steps, each with its ``message_text`` where messages are included.

    :param paging: ``after``, ``max_items``, ``page_size``.
    """
    ids = {"thread_id": thread_id, "run_id": run_id}
    steps = hook.list(RUN_STEPS, ids, order=order, include=include, on_page=on_page, **paging)
    if not include_messages:
        return steps
    texts = MessageTexts(hook, thread_id, run_id, order)
    return ({**step, MESSAGE_TEXT: texts.of(step)} for step in steps)


class MessageTexts:
    """
    Joins the texts of a run's messages to its steps, both read page by page.

    :param order: The order of the steps.
    """

    def __init__(self, hook: PortkeyHook, thread_id: str, run_id: str, order: str | None) -> None:
        self._hook = hook
        self._thread_id = thread_id
        self._messages = hook.list(MESSAGES, {"thread_id": thread_id}, run_id=run_id, order=order)
        self._buffered: OrderedDict[str, str | None] = OrderedDict()

    def of(self, step: dict[str, Any]) -> str | None:
        """Return the text of the message that a step wrote; ``None`` for other steps and for a deleted message."""
        message_id = _message_id(step)
        if message_id is None:
            return None
        if message_id not in self._buffered:
            self._read_ahead(message_id)
        if message_id in self._buffered:
            return self._buffered.pop(message_id)
        try:
            return _text(self._hook.get_message(self._thread_id, message_id))
        except PortkeyNotFoundError:
            return None

    def _read_ahead(self, message_id: str) -> None:
        for message in islice(self._messages, _MAX_BUFFERED):
            self._buffered[message["id"]] = _text(message)
            if len(self._buffered) > _MAX_BUFFERED:
                self._buffered.popitem(last=False)
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
