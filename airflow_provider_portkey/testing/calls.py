"""One call as an endpoint sees it, free of HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from airflow_provider_portkey.testing.content import Content
from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.forms import Form


@dataclass(frozen=True)
class Call:
    """What an endpoint needs to know of a request.

    :param now: seconds since the epoch.
    :param ids: the ids in the path, decoded, by their names.
    :param query: the query parameters, decoded; where one was repeated, its last value.
    :param include: every value of ``include[]``.
    :param body: the JSON object that was sent; empty where there was none.
    :param form: the form that was sent in its place.
    """

    now: float
    ids: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    include: frozenset[str] = frozenset()
    body: Mapping[str, Any] = field(default_factory=dict)
    form: Form = field(default_factory=Form)


#: Takes a call and gives the JSON object, or the content, to answer with; refuses by raising an ``ApiError``.
Endpoint: TypeAlias = Callable[[Call], dict[str, Any] | Content]


@dataclass(frozen=True)
class RecordedRequest:
    """One request that reached the mock server below ``/v1``, or its storage.

    :param path: as sent: still percent-encoded, with its ``/v1``, without the query.
    :param query: the query string as sent.
    :param headers: by names in lower case; a repeated header's values are joined with a comma.
    :param body: as sent; empty for a form, whose files may be too long to hold.
    :param time: when it arrived, in seconds since the epoch, by the mock server's clock.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    time: float


def parse_body(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a request.

    :raises ApiError: 400 for anything but an object or nothing.
    """
    if not body:
        return {}
    try:
        parsed = json.loads(body)
    except ValueError:
        raise bad_request("The body is not JSON.") from None
    if not isinstance(parsed, dict):
        raise bad_request("The body has to be a JSON object.")
    return parsed
