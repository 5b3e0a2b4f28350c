"""Faults that a test injects into responses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from airflow_provider_portkey.testing.errors import ApiError

#: The path prefix of signed URLs. A fault strikes there only if its path says so.
STORAGE = "/_storage"


@dataclass
class Fault:
    """
    One fault, for a number of requests.

    A fault with a ``status``, a ``body`` or ``disconnect`` replaces the response, and the request changes nothing.
    Any other fault lets the request through and alters its response.

    :param status: the HTTP status; 200 where only a body is given.
    :param body: a dict or a list is sent as JSON, a string or bytes as they are; without one, a status of 400 or
        more sends an error in the OpenAI shape.
    :param content_type: of the body; ``application/json`` or ``text/plain`` where not given.
    :param headers: additional response headers: ``{"Retry-After": "1"}``.
    :param delay: seconds to wait before anything else happens; ends early when the mock server stops.
    :param disconnect: close the connection without a response.
    :param cut_after: close the connection after this many bytes of the response body.
    :param ignore_after: ignore ``after``, as some servers do: the first page again and again.
    :param merge: merged into the response's JSON object: ``{"has_more": True}``, ``{"last_id": "x"}``.
    :param method: only for requests of this HTTP method.
    :param path: only for requests with this path, as sent, with its ``/v1`` and without the query: a glob, whose
        ``*`` matches slashes too (``*/runs/run_1/steps``), or a compiled regular expression to search for.
        Downloads by a signed URL are struck only by a fault with a path: ``/_storage/*``.
    :param times: the number of requests that it strikes; ``None`` for all of them.
    :raises ValueError: for a status outside 200..599, and for ``times`` below 1.
    """

    status: int | None = None
    body: Any = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float | None = None
    disconnect: bool = False
    cut_after: int | None = None
    ignore_after: bool = False
    merge: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    path: str | re.Pattern[str] | None = None
    times: int | None = 1
    #: The number of requests struck so far.
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status has to be 200 to 599, not {self.status}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times has to be at least 1, or None for all requests, not {self.times}")

    def strikes(self, method: str, path: str) -> bool:
        """Return whether this fault is for a request, and not used up."""
        if self.times is not None and self.struck >= self.times:
            return False
        if self.method is not None and self.method.upper() != method:
            return False
        if isinstance(self.path, str):
            return fnmatchcase(path, self.path)
        if self.path is None:
            return not path.startswith(STORAGE + "/")
        return self.path.search(path) is not None

    def replacement(self) -> Response | None:
        """Return the response that replaces the real one, if any."""
        if self.disconnect:
            return InterruptedResponse()
        if self.status is None and self.body is None:
            return None
        status, body = self.status or 200, self.body
        if body is None and status >= 400:
            body = ApiError(status, f"The mock server injected a fault with status {status}.").as_dict()
        content_type = "text/plain; charset=utf-8"
        if isinstance(body, dict | list):
            body, content_type = json.dumps(body), "application/json"
        return Response(body, status_code=status, headers={"content-type": self.content_type or content_type})


class Faults(list[Fault]):
    """The injected faults, the first one first."""

    def take(self, method: str, path: str) -> Fault:
        """Find the first fault that strikes a request, and count the strike; without one, it is harmless."""
        for fault in self:
            if fault.strikes(method, path):
                fault.struck += 1
                return fault
        return Fault()


class InterruptedResponse(Response):
    """
    Closes the connection after part of a response, or without any.

    :param response: the response to begin; ``None`` closes at once.
    :param after: the number of bytes of its body that are sent.
    """

    def __init__(self, response: Response | None = None, *, after: int = 0) -> None:
        super().__init__()
        self._response = response
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["state"]["connection"]  # see loopback.py
        left = self._after

        async def send_part(message: Message) -> None:
            nonlocal left
            if connection.is_closing():
                return
            if message["type"] == "http.response.body":
                part = message.get("body", b"")[:left]
                left -= len(part)
                message = {**message, "body": part, "more_body": True}
            await send(message)
            if left == 0 and message["type"] == "http.response.body":
                connection.close()

        if self._response is not None:
            await self._response(scope, receive, send_part)
        connection.close()
        while (await receive())["type"] != "http.disconnect":
            pass
