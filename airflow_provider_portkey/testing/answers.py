"""Answers beyond the ordinary: those that a fault scripted, and those that break off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.faults import Fault


class BrokenOff(Response):
    """Closes the connection after part of an answer, or without any.

    It needs the connection in the request's state, where :mod:`.server` puts it.

    :param answer: the answer to begin; ``None`` closes without a word.
    :param after: how many bytes of its body are sent.
    """

    def __init__(self, answer: Response | None = None, *, after: int = 0) -> None:
        super().__init__()
        self._answer = answer
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["state"]["connection"]
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

        if self._answer is not None:
            await self._answer(scope, receive, send_part)
        connection.close()
        while (await receive())["type"] != "http.disconnect":
            pass


def refusal(error: ApiError) -> Response:
    """Answer with an error in the OpenAI shape."""
    return JSONResponse(error.as_dict(), status_code=error.status)


def scripted(fault: Fault) -> Response:
    """Make the answer that a fault gives in place of the true one."""
    if fault.disconnect:
        return BrokenOff()
    status, body = fault.status or 200, fault.body
    if body is None and status >= 400:
        body = ApiError(status, f"The mock server was told to answer {status}.").as_dict()
    if isinstance(body, dict | list):
        body = json.dumps(body)
        content_type = fault.content_type or "application/json"
    else:
        content_type = fault.content_type or "text/plain; charset=utf-8"
    return Response(body, status_code=status, headers={"content-type": content_type})


def altered(true_answer: Mapping[str, Any], fault: Fault) -> Response:
    """Make the answer of a fault that only changes the true one."""
    return JSONResponse({**true_answer, **fault.merge})


def storage_refusal(error: ApiError) -> Response:
    """Answer with an error the way that object stores do: in XML."""
    code, message = escape(error.code or "InvalidRequest"), escape(error.message)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(text, status_code=error.status, media_type="application/xml")
