"""The web application: what happens to every request before and after its endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_portkey.testing.errors import ApiError, bad_request, json_error
from airflow_provider_portkey.testing.faults import Fault, Faults, InterruptedResponse
from airflow_provider_portkey.testing.store import Store

_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class ApiRequest:
    """
    The parts of a request that an endpoint reads.

    :param now: seconds since the epoch.
    :param ids: the ids in the path, decoded, by their names.
    :param query: the query parameters, decoded; of a repeated one the last value.
    :param include: every value of ``include[]``.
    :param body: the JSON object; empty without a body.
    :param form: the form, if the body is one.
    """

    now: float
    ids: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    include: frozenset[str] = frozenset()
    body: Mapping[str, Any] = field(default_factory=dict)
    form: FormData = field(default_factory=FormData)


#: Returns the JSON object of the response, or a response of its own; rejects by raising an ``ApiError``.
Endpoint: TypeAlias = Callable[[ApiRequest], dict[str, Any] | Response]

#: Method, path and endpoint.
ApiRoute: TypeAlias = tuple[str, str, Endpoint]


@dataclass(frozen=True)
class RecordedRequest:
    """
    One request that reached the mock server below ``/v1``, or its storage.

    :param path: as sent: percent-encoded, with its ``/v1``, without the query.
    :param query: the query string as sent.
    :param headers: by names in lower case; the values of a repeated header are joined with a comma.
    :param body: as sent; empty for a multipart form, whose files may be too large to hold.
    :param time: the arrival, in seconds since the epoch, by the mock server's clock.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    time: float


class WholeFileResponse(FileResponse):
    """A file from a server that ignores ``Range``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["accept-ranges"]
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def parse_body(body: bytes) -> dict[str, Any]:
    """
    Parse the JSON object of a request.

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


def require_key(headers: Mapping[str, str]) -> None:
    """Reject a request without a key."""
    if "authorization" not in headers:
        raise ApiError(401, "No key: the Authorization header is missing.", code="invalid_api_key")


def reject_key(headers: Mapping[str, str]) -> None:
    """Reject a request with a key: the storage behind a signed URL must not see one."""
    for name in headers:
        if name == "authorization" or name.startswith("x-portkey-"):
            raise ApiError(400, f"A signed URL and the header '{name}': only one is allowed.")


@dataclass(kw_only=True)
class Api:
    """
    The endpoints below one path: requests are recorded, faults strike, headers are checked.

    :param store: the clock and the lock, which is held while an endpoint works.
    :param authorize: checks the request headers, by names in lower case, and raises an ``ApiError``.
    :param error_response: makes the response of an ``ApiError``.
    """

    prefix: str
    store: Store
    faults: Faults
    authorize: Callable[[Mapping[str, str]], None] | None = None
    error_response: Callable[[ApiError], Response] = json_error
    requests: list[RecordedRequest] = field(default_factory=list)

    def routes(self, routes: Iterable[ApiRoute]) -> Iterator[Route]:
        """
        Return the routes of all endpoints, and of a 404 for every other path.

        :param routes: their paths without the prefix.
        """
        for method, path, endpoint in routes:
            yield self._route([method], path, endpoint)
        yield self._route(_ALL_METHODS, "/{rest:path}", _unknown_url)

    def _route(self, methods: list[str], path: str, endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            form: FormData | None = FormData()
            body = b""
            try:
                if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                    form = await request.form()
                else:
                    body = await request.body()
            except ClientDisconnect:
                return Response()
            except (FormParserError, HTTPException):  # some versions of Starlette let the former through
                form = None
            with self.store.lock:
                self.requests.append(self._record(request, body))
                fault = self.faults.take(request.method, request.scope["path"])
            if fault.delay:
                await request.state.pause(fault.delay)
            response = fault.replacement()
            if response is None:
                try:
                    if self.authorize is not None:
                        self.authorize(request.headers)
                    if form is None:
                        raise bad_request("The multipart form is malformed.")
                    response = self._respond(request, body, form, endpoint, fault)
                except ApiError as error:
                    response = self.error_response(error)
            await (form or FormData()).close()
            response.headers.update(fault.headers)
            return response if fault.cut_after is None else InterruptedResponse(response, after=fault.cut_after)

        return Route(self.prefix + path, handle, methods=methods)

    def _record(self, request: Request, body: bytes) -> RecordedRequest:
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, query = request.scope["path"], request.scope["query_string"].decode("ascii", "replace")
        return RecordedRequest(request.method, path, query, headers, body, self.store.clock())

    def _respond(self, request: Request, body: bytes, form: FormData, endpoint: Endpoint, fault: Fault) -> Response:
        query = dict(request.query_params)
        if fault.ignore_after:
            query.pop("after", None)
        api_request = ApiRequest(
            now=self.store.clock(),
            ids={name: unquote(value) for name, value in request.path_params.items()},
            query=query,
            include=frozenset(request.query_params.getlist("include[]")),
            body=parse_body(body),
            form=form,
        )
        with self.store.lock:
            result = endpoint(api_request)
        return result if isinstance(result, Response) else JSONResponse({**result, **fault.merge})


class _RawPaths:
    """Routes by the path as sent, so that an id with an encoded slash stays one segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": scope["raw_path"].decode("ascii", "replace")}, receive, send)


def _unknown_url(request: ApiRequest) -> dict[str, Any]:
    raise ApiError(404, "There is no such endpoint.", code="unknown_url")


def build_app(routes: Iterable[Route]) -> Starlette:
    """Return the application."""
    return Starlette(routes=list(routes), middleware=[Middleware(_RawPaths)])
