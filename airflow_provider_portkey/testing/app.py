"""The stand-in as a web application: what happens to every request before and after its endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_portkey.testing.answers import BrokenOff, altered, refusal, scripted
from airflow_provider_portkey.testing.calls import Call, Endpoint, RecordedRequest, parse_body
from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.faults import Fault, Faults

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class RawPaths:
    """Routes by the path as it was sent, so that an id with an encoded slash stays one segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": scope["raw_path"].decode("ascii", "replace")}, receive, send)


class Gate:
    """What every request below ``/v1`` passes: it is recorded, faults strike, keys are asked for.

    :param clock: tells the time, in seconds since the epoch.
    :param lock: held while an endpoint works; whoever changes the world from another thread holds it too.
    :param require_authorization: whether a request without ``Authorization`` gets a 401.
    :param faults: the faults that are set.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        lock: threading.RLock,
        require_authorization: bool,
        faults: Faults,
    ) -> None:
        self._clock = clock
        self._lock = lock
        self._require_authorization = require_authorization
        self._faults = faults
        self.requests: list[RecordedRequest] = []

    def route(self, method: str | None, path: str, endpoint: Endpoint) -> Route:
        """Put an endpoint behind the gate.

        :param method: the HTTP method; ``None`` for any.
        :param path: below ``/v1``.
        """

        async def handle(request: Request) -> Response:
            body = await request.body()
            with self._lock:
                self._record(request, body)
                fault = self._faults.take(request.method, request.scope["path"]) or Fault()
            if fault.delay:
                await request.state.pause(fault.delay)
            answer = self._answer(request, body, endpoint, fault)
            answer.headers.update(fault.headers)
            return answer if fault.cut_after is None else BrokenOff(answer, after=fault.cut_after)

        return Route("/v1" + path, handle, methods=[method] if method else _ALL_METHODS)

    def _record(self, request: Request, body: bytes) -> None:
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.requests.append(
            RecordedRequest(
                method=request.method,
                path=request.scope["path"],
                query=request.scope["query_string"].decode("ascii", "replace"),
                headers=headers,
                body=body,
                time=self._clock(),
            )
        )

    def _answer(self, request: Request, body: bytes, endpoint: Endpoint, fault: Fault) -> Response:
        if fault.replaces_answer:
            return scripted(fault)
        query = dict(request.query_params)
        if fault.ignore_after:
            query.pop("after", None)
        try:
            if self._require_authorization and "authorization" not in request.headers:
                raise ApiError(401, "No key: the Authorization header is missing.", code="invalid_api_key")
            call = Call(
                now=self._clock(),
                ids={name: unquote(value) for name, value in request.path_params.items()},
                query=query,
                include=frozenset(request.query_params.getlist("include[]")),
                body=parse_body(body),
            )
            with self._lock:
                return altered(endpoint(call), fault)
        except ApiError as error:
            return refusal(error)


def build_app(
    gate: Gate,
    endpoints: Iterable[tuple[str, str, Endpoint]],
    control: Iterable[Route],
) -> Starlette:
    """Put the application together.

    :param endpoints: method, path below ``/v1`` and endpoint of each call.
    :param control: the routes outside ``/v1`` by which another process scripts the stand-in.
    """

    def nothing_there(call: Call) -> dict[str, object]:
        raise ApiError(404, "There is no such endpoint.", code="unknown_url")

    routes = [gate.route(*endpoint) for endpoint in endpoints]
    return Starlette(
        routes=[*routes, gate.route(None, "/{rest:path}", nothing_there), *control],
        middleware=[Middleware(RawPaths)],
    )
