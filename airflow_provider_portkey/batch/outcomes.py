"""The lines of a batch's results, in the shapes of OpenAI and of Anthropic: success or failure, and what was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.jobs.values import read_number

#: The id of a request: OpenAI's and Anthropic's name, and those under which the gateway stores the lines of an
#: uploaded file for Bedrock and for Vertex (mapping of the open-source gateway 1.15.2, ``uploadFile``).
_REQUEST_ID_FIELDS = ("custom_id", "recordId", "requestId")


def request_id_of(request: Mapping[str, Any]) -> str | None:
    """Return the id of a request on a line of a batch's input, ``None`` where it has none."""
    for name in _REQUEST_ID_FIELDS:
        if isinstance(id_ := request.get(name), str):
            return id_
    return None


def is_failure(outcome: Mapping[str, Any]) -> bool:
    """
    Return whether a line says that its request failed.

    A line of OpenAI's shape says so by an error, no response, or a status of 400 or more; one of Anthropic's by a
    ``result`` of another type than ``succeeded``: ``errored``, ``canceled`` or ``expired``.
    """
    if isinstance(result := outcome.get("result"), dict):
        return result.get("type") != "succeeded"
    response = outcome.get("response")
    if outcome.get("error") or not isinstance(response, dict):
        return True
    status = read_number(response.get("status_code"))
    return status is not None and status >= 400


def usage_of(outcome: Mapping[str, Any]) -> object:
    """Return the ``usage`` of the response on a line, ``None`` where it has none."""
    for path in (("response", "body", "usage"), ("result", "message", "usage")):
        value: Any = outcome.get(path[0])
        for name in path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
