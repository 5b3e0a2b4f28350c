"""Error responses: those of the API, and the faults that a test injects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

#: The path prefix of signed URLs. A fault strikes there only if its path says so.
STORAGE = "/_storage/"


class ApiError(Exception):
    """A request that is rejected in the shape of OpenAI-compatible servers; ``param`` names an invalid parameter."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(400, message, param=param)


def error_response(request: Request, error: Exception) -> Response:
    """Return the response of an :class:`ApiError`; of any other exception, a 400."""
    error = error if isinstance(error, ApiError) else bad_request(str(error))
    return JSONResponse(error.body, status_code=error.status)


@dataclass
class Fault:
    """
    One fault, for a number of requests.

    A fault with a ``status``, a ``body`` or ``disconnect`` replaces the response, and the request changes nothing.
    Any other fault lets the request through and alters its response.

    :param status: the HTTP status; 200 where only a body is given.
    :param body: JSON as a dict or a list, a string, or bytes; without one, a status from 400 on sends an OpenAI error.
    :param content_type: of the body; ``application/json`` or ``text/plain`` where not given.
    :param headers: additional response headers: ``{"Retry-After": "1"}``.
    :param delay: seconds to wait before anything else happens; ends early when the mock server stops.
    :param response_delay: seconds between what the request does and its response; ends early in the same way.
    :param disconnect: close the connection without a response.
    :param cut_after: close the connection after this many bytes of the response body.
    :param ignore_after: ignore ``after``, as some servers do: the first page again and again.
    :param merge: merged into the response's JSON object: ``{"has_more": True}``, ``{"last_id": "x"}``.
    :param method: only for requests of this HTTP method.
    :param path: only for requests with this path, as sent, without the query: a glob (``*/runs/run_1/steps``), or a
        compiled regular expression. Downloads by a signed URL are struck only by a fault with one: ``/_storage/*``.
    :param times: the number of requests that it strikes; ``None`` for all of them.
    :raises ValueError: for a status outside 200..599, and for ``times`` below 1.
    """

    status: int | None = None
    body: Any = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float | None = None
    response_delay: float | None = None
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
        if self.struck == self.times or (self.method or method).upper() != method:
            return False
        if self.path is None:
            return not path.startswith(STORAGE)
        return fnmatchcase(path, self.path) if isinstance(self.path, str) else bool(self.path.search(path))

    def replacement(self) -> Response | None:
        """Return the response that replaces the real one, if any."""
        if self.status is None and self.body is None:
            return None
        status, body, content_type = self.status or 200, self.body, "text/plain; charset=utf-8"
        if body is None and status >= 400:
            body = ApiError(status, f"The mock server injected a fault with status {status}.").body
        if isinstance(body, dict | list):
            body, content_type = json.dumps(body), "application/json"
        return Response(body, status_code=status, headers={"content-type": self.content_type or content_type})

    def alter(self, response: Response) -> Response:
        """Return a response with the headers of the fault, and cut as it says."""
        response.headers.update(self.headers)
        return response if self.cut_after is None else _InterruptedResponse(response, self.cut_after)


class _InterruptedResponse(Response):
    """Closes the connection after some bytes of the body of a response."""

    def __init__(self, response: Response, after: int) -> None:
        super().__init__()
        self._response = response
        self._left = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["state"]["connection"]  # see loopback.py

        async def send_part(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": message.get("body", b"")[: self._left], "more_body": True}
                self._left -= len(message["body"])
            if not connection.is_closing():
                await send(message)
            if message["type"] == "http.response.body" and self._left == 0:
                connection.close()

        await self._response(scope, receive, send_part)
        connection.close()
        while (await receive())["type"] != "http.disconnect":
            pass
