"""The items of a response: what went in, and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.ids import Ids

#: What the id of an item begins with, by its type.
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}

#: The types of items that nobody described, in turn.
_TURNS = ("reasoning", "function_call", "message")


def output_items(ids: Ids, plans: int | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make output items.

    :param plans: how many, or for each its type and the fields that are not to be generated, and ``text``
        for the text of a message.
    """
    if isinstance(plans, int):
        # The last one is the message, whatever their number: a response ends with what it says.
        plans = [{"type": _TURNS[(number - plans) % len(_TURNS)]} for number in range(plans)]
    return [_output_item(ids, number, dict(plan)) for number, plan in enumerate(plans)]


def input_items(ids: Ids, given: Any) -> list[dict[str, Any]]:
    """Make input items of what a caller sent as ``input``, or of how many a test wants.

    :raises ApiError: 400 for anything but a text, a number and a list of items.
    """
    if isinstance(given, int):
        given = [{"role": "user", "content": f"Question {number}."} for number in range(1, given + 1)]
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(item, Mapping) for item in given):
        raise bad_request("'input' has to be a text or a list of items.", param="input")
    return [_input_item(ids, dict(item)) for item in given]


def _new_id(ids: Ids, kind: str) -> str:
    return ids.new(_PREFIXES.get(kind, "item"))


def _output_item(ids: Ids, number: int, plan: dict[str, Any]) -> dict[str, Any]:
    kind = plan.setdefault("type", "message")
    item: dict[str, Any] = {"id": _new_id(ids, kind), "type": kind}
    text = plan.pop("text", f"Answer of item {number}.")
    if kind == "message":
        content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
        item |= {"status": "completed", "role": "assistant", "content": content}
    elif kind == "reasoning":
        item |= {"summary": [{"type": "summary_text", "text": f"Thought of item {number}."}]}
    elif kind == "function_call":
        arguments = f'{{"item": {number}}}'
        call_id = ids.new("call")
        item |= {"status": "completed", "call_id": call_id, "name": "look_up", "arguments": arguments}
    return item | plan


def _input_item(ids: Ids, given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("type", "message")
    item = {"id": _new_id(ids, kind), "type": kind, "status": "completed"} | given
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        item["content"] = [{"type": part, "text": item["content"]}]
    return item
