"""The functions that a run calls while it waits for its caller: what it wants, and what it is given. No HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyToolCallFailedError
from airflow_provider_portkey.jobs.run import RUN

_SHAPE = "a list of {'tool_call_id': ..., 'output': ...}, or the outputs by the ids of their calls"


@dataclass(frozen=True)
class ToolCall:
    """
    One call of a function.

    :param id: The call.
    :param name: The function's name.
    :param arguments: Its arguments, in JSON; they stay out of messages.
    """

    id: str
    name: str
    arguments: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


def awaited(run: Mapping[str, Any]) -> set[str]:
    """Return the ids of the calls whose outputs a run waits for, of tools of any kind."""
    if run.get("status") not in RUN.action_required_statuses:
        return set()
    return {call["id"] for call in _calls(run) if isinstance(call.get("id"), str)}


def function_calls(run: Mapping[str, Any]) -> list[ToolCall]:
    """
    Return the functions that a run wants to have called.

    :raises PortkeyToolCallFailedError: where it waits for anything else.
    """
    action = run.get("required_action")
    if not (calls := _calls(run)):
        kind = action.get("type") if isinstance(action, Mapping) else None
        raise PortkeyToolCallFailedError(f"The run waits for {kind!r}, which tool_handlers cannot answer.")
    found = []
    for call in calls:
        call_id, kind, function = call.get("id"), call.get("type"), call.get("function")
        if kind != "function" or not isinstance(function, Mapping):
            message = f"The run calls a tool of type {kind!r} ({call_id}), and tool_handlers answer functions only."
            raise PortkeyToolCallFailedError(message, tool=str(kind), call_id=str(call_id))
        found.append(ToolCall(str(call_id), str(function.get("name")), str(function.get("arguments"))))
    return found


def answer_calls(
    calls: Iterable[ToolCall], handlers: Mapping[str, Callable[..., Any]], log: Any
) -> list[dict[str, str]]:
    """
    Have every call answered by the handler of its name; none is called before all calls are found to be right.

    :param handlers: Called with the arguments by their names. A text that one returns goes as it is, anything else
        as JSON.
    :param log: Where each call is told of, by its name and id.
    :raises PortkeyToolCallFailedError: for a function without a handler, for arguments that are no JSON object, for a
        handler that raises, and for a result that JSON does not know.
    """
    ready = [(call, _handler(call, handlers), _arguments(call)) for call in calls]
    outputs = []
    for call, handler, arguments in ready:
        log.info("Answering the call of tool %s.", call)
        try:
            result = handler(**arguments)
        except Exception as error:
            raise _failed(call, f"its handler raised {type(error).__name__}") from error
        try:
            outputs.append({"tool_call_id": call.id, "output": _text(result)})
        except (TypeError, ValueError, RecursionError) as error:
            raise _failed(call, f"its handler returned a {type(result).__name__} that JSON does not know") from error
    return outputs


def read_outputs(given: Any) -> list[dict[str, str]]:
    """
    Return tool outputs as they are sent.

    :param given: A list of ``{"tool_call_id", "output"}``, a mapping of call id to output, or either of them as JSON
        text. An output that is no text becomes JSON.
    :raises PortkeyInvalidArgumentError: for anything else; the outputs themselves stay out of the message.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise PortkeyInvalidArgumentError("tool_outputs", "a text that is no JSON", _SHAPE) from None
    if isinstance(given, Mapping):
        given = [{"tool_call_id": call_id, "output": output} for call_id, output in given.items()]
    if not isinstance(given, list | tuple) or not given:
        raise PortkeyInvalidArgumentError("tool_outputs", type(given).__name__, f"{_SHAPE}, at least one")
    outputs: dict[str, str] = {}
    for number, one in enumerate(given, start=1):
        if not isinstance(one, Mapping) or one.keys() != {"tool_call_id", "output"}:
            raise PortkeyInvalidArgumentError("tool_outputs", f"number {number}", _SHAPE)
        call_id = one["tool_call_id"]
        if not isinstance(call_id, str) or not call_id or call_id in outputs:
            raise PortkeyInvalidArgumentError("tool_outputs", call_id, "the id of a call, each once")
        try:
            outputs[call_id] = _text(one["output"])
        except (TypeError, ValueError, RecursionError):
            raise PortkeyInvalidArgumentError("tool_outputs", call_id, "an output that JSON knows") from None
    return [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]


def _calls(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    action = run.get("required_action")
    if not isinstance(action, Mapping) or action.get("type") != "submit_tool_outputs":
        return []
    wanted = action.get("submit_tool_outputs")
    calls = wanted.get("tool_calls") if isinstance(wanted, Mapping) else None
    return [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def _handler(call: ToolCall, handlers: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if call.name not in handlers:
        raise _failed(call, f"tool_handlers has no such tool, only {', '.join(sorted(handlers))}")
    return handlers[call.name]


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError) as error:
        raise _failed(call, "its arguments are no JSON") from error
    if not isinstance(arguments, dict):
        raise _failed(call, "its arguments are no JSON object")
    return arguments


def _failed(call: ToolCall, why: str) -> PortkeyToolCallFailedError:
    return PortkeyToolCallFailedError(f"Tool {call.name!r} ({call.id}) failed: {why}.", tool=call.name, call_id=call.id)


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, allow_nan=False)
