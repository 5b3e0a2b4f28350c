"""Which task made a request, as Portkey metadata: the pairs, their limits, and the header that carries them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Portkey's header of a JSON object of strings, which logs and analytics can be filtered and grouped by.
METADATA_HEADER = "x-portkey-metadata"
#: Portkey's limit for a metadata value.
METADATA_MAX_CHARACTERS = 128
#: What a request is for: ``poll`` for each GET, ``submit`` for all others. Beside task metadata only.
REQUEST_KEY = "airflow_request"
#: The class of an event trigger, which belongs to no task.
TRIGGER_KEY = "airflow_trigger"

#: Pairs in the metadata of a batch (OpenAI's reference).
_MAX_PAIRS = 16
#: The attributes of a task instance that its requests carry, prefixed with ``airflow_``.
_ATTRIBUTES = ("dag_id", "task_id", "run_id", "map_index")
#: Hexadecimal digits that keep two long ids distinct that begin alike.
_DIGITS = 12


def task_metadata_of(ti: Any) -> dict[str, str]:
    """
    Return the metadata of a task's requests: ``airflow_dag_id``, ``_task_id``, ``_run_id`` and ``_map_index``.

    :param ti: A task instance; for any other object there is no metadata.
    """
    values = {name: getattr(ti, name, None) for name in _ATTRIBUTES}
    if None in values.values():
        return {}
    return {f"airflow_{name}": shorten(str(value)) for name, value in values.items()}


def shorten(value: str) -> str:
    """Return a value within Portkey's limit; a longer one is cut and ends in a part of its SHA-256."""
    if len(value) <= METADATA_MAX_CHARACTERS:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{value[: METADATA_MAX_CHARACTERS - _DIGITS - 1]}-{digest}"


def metadata_header(method: str, task_metadata: Mapping[str, str], own: str | None) -> str | None:
    """
    Return the value of the metadata header of one request, in ASCII.

    :param method: The method of the request.
    :param task_metadata: As of :func:`task_metadata_of`.
    :param own: The connection's header, whose pairs win. One that is no JSON object is left as it is.
    :return: ``None`` where the connection's header is sent as it is.
    """
    if not task_metadata:
        return None
    try:
        pairs = json.loads(own) if own else {}
    except ValueError:
        return None
    if not isinstance(pairs, dict):
        return None
    request = {REQUEST_KEY: "poll" if method == "GET" else "submit"}
    return json.dumps({**task_metadata, **request, **pairs}, ensure_ascii=True)


def with_task_metadata(pairs: Mapping[str, str], task_metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of a job with as many pairs of its task as there is room for; the job's own pairs win."""
    new = [name for name in task_metadata if name not in pairs]
    room = max(_MAX_PAIRS - len(pairs), 0)
    return {**pairs, **{name: task_metadata[name] for name in new[:room]}}
