"""The mock server as a web application: what happens to every request before and after its endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_portkey.testing.answers import BrokenOff, altered, refusal, scripted
from airflow_provider_portkey.testing.calls import Call, Endpoint, RecordedRequest, parse_body
from airflow_provider_portkey.testing.content import Content, content_answer
from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.faults import Fault, Faults
from airflow_provider_portkey.testing.forms import Form, is_form, read_form

#: Looks at the headers of a request, by names in lower case, and refuses by raising an ``ApiError``.
Admission: TypeAlias = Callable[[Mapping[str, str]], None]

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def key_wanted(headers: Mapping[str, str]) -> None:
    """Admit whoever brings a key."""
    if "authorization" not in headers:
        raise ApiError(401, "No key: the Authorization header is missing.", code="invalid_api_key")


def no_key_wanted(headers: Mapping[str, str]) -> None:
    """Admit everybody but those who bring a key: a signed URL is all that its storage must see."""
    for name in headers:
        if name == "authorization" or name.startswith("x-portkey-"):
            raise ApiError(400, f"A signed URL and the header '{name}': only one is allowed.")


class RawPaths:
    """Routes by the path as it was sent, so that an id with an encoded slash stays one segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": scope["raw_path"].decode("ascii", "replace")}, receive, send)


class Gate:
    """What every request below one path passes: it is recorded, faults strike, its headers are looked at.

    :param prefix: the path.
    :param clock: tells the time, in seconds since the epoch.
    :param lock: held while an endpoint works; whoever changes the world from another thread holds it too.
    :param faults: the faults that are set.
    :param admission: whom it lets through; everybody where not given.
    :param refuse: what a refusal looks like.
    """

    def __init__(
        self,
        prefix: str,
        *,
        clock: Callable[[], float],
        lock: threading.RLock,
        faults: Faults,
        admission: Admission | None = None,
        refuse: Callable[[ApiError], Response] = refusal,
    ) -> None:
        self._prefix = prefix
        self._clock = clock
        self._lock = lock
        self._faults = faults
        self._admission = admission
        self._refuse = refuse
        self.requests: list[RecordedRequest] = []

    def routes(self, table: Iterable[tuple[str, str, Endpoint]]) -> Iterator[Route]:
        """Put endpoints behind the gate, and a 404 for every other path.

        :param table: method, path below the prefix and endpoint of each call.
        """
        for method, path, endpoint in table:
            yield self._route([method], path, endpoint)
        yield self._route(_ALL_METHODS, "/{rest:path}", _nothing_there)

    def _route(self, methods: list[str], path: str, endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            form, body = Form(), b""
            try:
                if is_form(request):
                    form = await read_form(request)
                else:
                    body = await request.body()
            except ClientDisconnect:
                return Response()
            with self._lock:
                self._record(request, body)
                fault = self._faults.take(request.method, request.scope["path"]) or Fault()
            if fault.delay:
                await request.state.pause(fault.delay)
            answer = self._answer(request, body, form, endpoint, fault)
            answer.headers.update(fault.headers)
            return answer if fault.cut_after is None else BrokenOff(answer, after=fault.cut_after)

        return Route(self._prefix + path, handle, methods=methods)

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

    def _answer(self, request: Request, body: bytes, form: Form, endpoint: Endpoint, fault: Fault) -> Response:
        if fault.replaces_answer:
            return scripted(fault)
        query = dict(request.query_params)
        if fault.ignore_after:
            query.pop("after", None)
        try:
            if self._admission is not None:
                self._admission(request.headers)
            call = Call(
                now=self._clock(),
                ids={name: unquote(value) for name, value in request.path_params.items()},
                query=query,
                include=frozenset(request.query_params.getlist("include[]")),
                body=parse_body(body),
                form=form,
            )
            with self._lock:
                answer = endpoint(call)
        except ApiError as error:
            return self._refuse(error)
        return content_answer(answer, request.headers) if isinstance(answer, Content) else altered(answer, fault)


def _nothing_there(call: Call) -> dict[str, object]:
    raise ApiError(404, "There is no such endpoint.", code="unknown_url")


def build_app(routes: Iterable[Route]) -> Starlette:
    """Put the application together."""
    return Starlette(routes=list(routes), middleware=[Middleware(RawPaths)])
