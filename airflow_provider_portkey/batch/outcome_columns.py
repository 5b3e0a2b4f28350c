"""What the response to a request says: status, text, error, tokens, in the shapes of OpenAI and of Anthropic."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_portkey.batch.outcomes import is_failure, usage_of
from airflow_provider_portkey.jobs.values import read_number
from airflow_provider_portkey.json_values import strict_json

#: What a row of a table says of its request, beside the key columns; ``parsed`` is JSON as text.
OUTCOME_COLUMNS = {
    "custom_id": "text",
    "status": "text",
    "text": "text",
    "parsed": "text",
    "error_code": "text",
    "error_message": "text",
    "finish_reason": "text",
    "input_tokens": "integer",
    "output_tokens": "integer",
    "total_tokens": "integer",
    "cost": "number",
    "model": "text",
}
#: The values of ``status``. ``invalid``: the response does not fit the JSON schema; ``missing``: no outcome.
STATUSES = ("succeeded", "failed", "expired", "cancelled", "missing", "invalid")

#: Codes of requests that a batch did not get to (OpenAI's reference of batches), and Anthropic's types of results.
_STATUS_OF_CODE = {
    "batch_expired": "expired",
    "batch_cancelled": "cancelled",
    "expired": "expired",
    "canceled": "cancelled",
}
#: What a line of output has of a request.
_LINE_FIELDS = {"response", "result", "error"}
#: The names of a count of tokens: those of responses and of Anthropic, and those of chat completions.
_TOKENS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "total_tokens": "total_tokens"}


def read_outcome(outcome: Mapping[str, Any], *, error_file: bool = False) -> dict[str, Any]:
    """
    Return what a line says, as columns of a table, those with a value only.

    :param outcome: A line of a batch's output or error file.
    :param error_file: Whether the line is of the error file, where every line is a failure.
    """
    if error_file or is_failure(outcome):
        found = _error_of(outcome)
        found["status"] = _STATUS_OF_CODE.get(found.get("error_code", ""), "failed")
        return found
    body = body_of(outcome)
    found = {"status": "succeeded", "text": _text_of(body), "parsed": _vector_of(body), "model": _string(body, "model")}
    found["finish_reason"] = _finish_reason(body)
    found.update(read_usage(usage_of(outcome)))
    found.setdefault("cost", read_number(body.get("cost")))
    return {name: value for name, value in found.items() if value is not None}


def read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table of outcomes, also for a line of a batch's output, as JSON or in columns."""
    if row.get("status") is not None or not row.keys() & _LINE_FIELDS:
        return dict(row)
    return {"custom_id": row.get("custom_id"), **read_outcome(parse_line(row))}


def parse_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is, with the fields of a line of output as objects, also where they are columns of JSON."""
    return {**row, **{name: parsed_column(row[name]) for name in _LINE_FIELDS & row.keys()}}


def parsed_column(value: Any) -> Any:
    """Return what a column of JSON holds; a text that is no JSON as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def read_usage(usage: object) -> dict[str, Any]:
    """Return tokens and cost of a ``usage`` object; the total is the sum where there is none."""
    if not isinstance(usage, Mapping):
        return {}
    found: dict[str, Any] = {}
    for name, other in _TOKENS.items():
        if (number := read_number(usage.get(name, usage.get(other)))) is not None:
            found[name] = int(number)
    if "total_tokens" not in found and found:
        found["total_tokens"] = found.get("input_tokens", 0) + found.get("output_tokens", 0)
    if (cost := read_number(usage.get("cost"))) is not None:
        found["cost"] = cost
    return found


def body_of(outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of the response on a line, empty where it has none."""
    for name, inner in (("response", "body"), ("result", "message")):
        if isinstance(outer := outcome.get(name), Mapping) and isinstance(body := outer.get(inner), Mapping):
            return body
    return {}


def _text_of(body: Mapping[str, Any]) -> str | None:
    """Return the text of a chat completion, a completion, a response, or a message of Anthropic's."""
    for choice in _mappings(body.get("choices")):
        if isinstance(message := choice.get("message"), Mapping):
            return _joined(message.get("content"))
        return _string(choice, "text")
    if "output" in body:
        texts = [_joined(item.get("content")) for item in _mappings(body["output"]) if item.get("type") == "message"]
        return "".join(filter(None, texts)) if texts else None
    return _joined(body.get("content"))


def _joined(content: Any) -> str | None:
    """Return a content: a string, or the texts of its parts."""
    if isinstance(content, str):
        return content
    texts = [text for part in _mappings(content) if (text := _string(part, "text")) is not None]
    return "".join(texts) if texts else None


def _vector_of(body: Mapping[str, Any]) -> str | None:
    """Return the embedding of a response that has one, as JSON."""
    for item in _mappings(body.get("data")):
        if (vector := item.get("embedding")) is not None:
            return strict_json(vector)[0]
    return None


def _finish_reason(body: Mapping[str, Any]) -> str | None:
    for choice in _mappings(body.get("choices")):
        return _string(choice, "finish_reason")
    if isinstance(details := body.get("incomplete_details"), Mapping) and "reason" in details:
        return _string(details, "reason")
    return _string(body, "stop_reason") or _string(body, "status")


def _error_of(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return code and message of a failure, from wherever its provider puts them."""
    places: list[Any] = [outcome.get("error")]
    response, result = outcome.get("response"), outcome.get("result")
    status = response.get("status_code") if isinstance(response, Mapping) else None
    if isinstance(response, Mapping):
        body = response.get("body")
        places += [body.get("error"), body] if isinstance(body, Mapping) else [body]
    kind = result.get("type") if isinstance(result, Mapping) else None
    if isinstance(result, Mapping):
        error = result.get("error")
        places += [error.get("error"), error] if isinstance(error, Mapping) else [error]
    code = message = None
    for place in places:
        if isinstance(place, Mapping):
            code = code or next(
                (str(place[name]) for name in ("code", "type") if place.get(name) not in (None, "")), None
            )
            message = message or _string(place, "message")
        elif isinstance(place, str):
            message = message or place
    if kind in _STATUS_OF_CODE:
        code = str(kind)
    code = code or (None if status is None else str(status)) or (None if kind is None else str(kind))
    found = {"error_code": code, "error_message": message}
    return {name: value for name, value in found.items() if value is not None}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, Mapping))


def _string(place: Mapping[str, Any], name: str) -> str | None:
    return value if isinstance(value := place.get(name), str) else None
