"""The tool calls of a run that requires action: read, handled by functions, and their outputs submitted once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyRequestError,
    PortkeyToolCallFailedError,
)
from airflow_provider_portkey.jobs.run import RUN

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: How often outputs are sent at the most, where the outcome is unknown and the run still requires them.
_MAX_ATTEMPTS = 3
#: Seconds before the outputs are sent again.
_PAUSE = 2.0
_SHAPE = "a list of {'tool_call_id': ..., 'output': ...}, or the outputs by the ids of their calls"


@dataclass(frozen=True)
class ToolCall:
    """
    One call of a function.

    :param id: The call.
    :param name: The function's name.
    :param arguments: Its arguments as JSON; they stay out of messages.
    """

    id: str
    name: str
    arguments: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


def required_calls(run: Mapping[str, Any]) -> set[str]:
    """Return the ids of the calls whose outputs a run requires, of tools of any kind."""
    if run.get("status") not in RUN.action_required_statuses:
        return set()
    return {call["id"] for call in _calls(run) if isinstance(call.get("id"), str)}


def function_calls(run: Mapping[str, Any]) -> list[ToolCall]:
    """
    Return the functions that a run calls.

    :raises PortkeyToolCallFailedError: where the run requires anything else.
    """
    action = run.get("required_action")
    if not (calls := _calls(run)):
        kind = action.get("type") if isinstance(action, Mapping) else None
        raise PortkeyToolCallFailedError(f"The run requires {kind!r}, which tool_handlers cannot handle.")
    found = []
    for call in calls:
        call_id, kind, function = call.get("id"), call.get("type"), call.get("function")
        if kind != "function" or not isinstance(function, Mapping):
            message = f"The run calls a tool of type {kind!r} ({call_id}), and tool_handlers handle functions only."
            raise PortkeyToolCallFailedError(message, tool=str(kind), call_id=str(call_id))
        found.append(ToolCall(str(call_id), str(function.get("name")), str(function.get("arguments"))))
    return found


def call_handlers(
    calls: Iterable[ToolCall], handlers: Mapping[str, Callable[..., Any]], log: Any
) -> list[dict[str, str]]:
    """
    Call the handler of each call by its name; none is called before all calls are checked.

    :param handlers: Called with the arguments by their names. A string result is sent as it is, anything else as JSON.
    :param log: Names each call and its id.
    :raises PortkeyToolCallFailedError: for a function without a handler, for arguments that are no JSON object, for a
        handler that raises, and for a result that JSON does not know.
    """
    ready = [(call, _handler(call, handlers), _arguments(call)) for call in calls]
    outputs = []
    for call, handler, arguments in ready:
        log.info("Calling the handler of tool %s.", call)
        try:
            result = handler(**arguments)
        except Exception as error:
            raise _failed(call, f"its handler raised {type(error).__name__}") from error
        try:
            outputs.append({"tool_call_id": call.id, "output": _string(result)})
        except (TypeError, ValueError, RecursionError) as error:
            raise _failed(call, f"its handler returned a {type(result).__name__} that JSON does not know") from error
    return outputs


def read_outputs(given: Any) -> list[dict[str, str]]:
    """
    Return tool outputs as they are sent.

    :param given: A list of ``{"tool_call_id", "output"}``, a mapping of call id to output, or either of them as a JSON
        string. An output that is no string becomes JSON.
    :raises PortkeyInvalidArgumentError: for anything else; the outputs themselves stay out of the message.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise PortkeyInvalidArgumentError("tool_outputs", "a string that is no JSON", _SHAPE) from None
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
            outputs[call_id] = _string(one["output"])
        except (TypeError, ValueError, RecursionError):
            raise PortkeyInvalidArgumentError("tool_outputs", call_id, "an output that JSON knows") from None
    return [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]


def submit_outputs(
    hook: PortkeyHook, ids: Mapping[str, str], outputs: Sequence[Mapping[str, str]], log: Any
) -> dict[str, Any]:
    """
    Submit the outputs of all calls that a run requires, and return the run.

    Where sending broke off or was refused, the run itself shows whether it still requires the outputs: a run that has
    moved on has received them.

    :raises PortkeyRequestError: where the outputs were refused, or the outcome is unknown, and the run still requires
        them.
    """
    calls = {output["tool_call_id"] for output in outputs}
    attempts = 0
    while True:
        attempts += 1
        try:
            return hook.submit_tool_outputs(ids["thread_id"], ids["run_id"], outputs)
        except PortkeyRequestError as error:
            refused = error.safe_to_retry
            if refused and not isinstance(error, PortkeyBadRequestError):
                raise
            run = hook.get_job(RUN, ids)
            if not calls & required_calls(run):
                log.info("%s requires these outputs no longer.", RUN.describe(ids))
                return run
            if refused or attempts >= _MAX_ATTEMPTS:
                raise
            log.warning("%s still requires the outputs; sending them again: %s", RUN.describe(ids), error)
            time.sleep(_PAUSE)


def _calls(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    action = run.get("required_action")
    if not isinstance(action, Mapping) or action.get("type") != "submit_tool_outputs":
        return []
    required = action.get("submit_tool_outputs")
    calls = required.get("tool_calls") if isinstance(required, Mapping) else None
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


def _string(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, allow_nan=False)
