"""The web application: what happens to every request before and after its endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_portkey.testing.faults import STORAGE, ApiError, Fault, bad_request, error_response
from airflow_provider_portkey.testing.store import Store


@dataclass(frozen=True)
class ApiRequest:
    """The parts of a request that an endpoint reads, all of them decoded, and the ``origin``: the server's URL."""

    store: Store
    now: float
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    form: FormData
    origin: str


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
    :param headers: by names in lower case.
    :param body: as sent; empty for a multipart form, whose files may be too large to hold.
    :param time: the arrival, in seconds since the epoch, by the mock server's clock.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    time: float


def parse_body(body: bytes) -> dict[str, Any]:
    """Parse the JSON object of a request; anything but an object or nothing is a 400."""
    try:
        return dict(json.loads(body or b"{}").items())
    except (AttributeError, ValueError):
        raise bad_request("The body has to be a JSON object.") from None


@dataclass(kw_only=True)
class Api:
    """All endpoints of the API and of the storage: requests are recorded, faults strike, headers are checked."""

    store: Store
    require_authorization: bool
    faults: list[Fault] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)

    def app(self, routes: Iterable[ApiRoute], control: Iterable[Route]) -> Starlette:
        """Return the application; ``control`` are endpoints without all of this."""
        return _App(
            routes=[
                *control,
                *(self._route([method], path, endpoint) for method, path, endpoint in routes),
                self._route(["GET", "POST", "PUT", "PATCH", "DELETE"], "/{rest:path}", _unknown_url),
            ],
            exception_handlers={ApiError: error_response, ClientDisconnect: lambda request, error: Response()},
        )

    def _route(self, methods: list[str], path: str, endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            body, form = await _read_body(request)
            method, sent_path, headers = request.method, request.scope["path"], dict(request.headers)
            query = request.scope["query_string"].decode("ascii", "replace")
            with self.store.lock:
                self.requests.append(RecordedRequest(method, sent_path, query, headers, body, self.store.clock()))
                fault = next((one for one in self.faults if one.strikes(method, sent_path)), Fault())
                fault.struck += 1
            if fault.delay:
                await request.state.pause(fault.delay)
            if fault.disconnect:
                request.state.connection.close()
            response = Response() if fault.disconnect else fault.replacement()
            try:
                if response is None:
                    self._check_headers(sent_path, headers)
                    result = self._call(endpoint, request, body, form, ignore_after=fault.ignore_after)
                    response = result if isinstance(result, Response) else JSONResponse({**result, **fault.merge})
            except ApiError as error:
                response = error_response(request, error)
            await request.close()
            if fault.response_delay:
                await request.state.pause(fault.response_delay)
            return fault.alter(response)

        return Route(path, handle, methods=methods)

    def _call(
        self, endpoint: Endpoint, request: Request, body: bytes, form: FormData | None, *, ignore_after: bool
    ) -> dict[str, Any] | Response:
        if form is None:
            raise bad_request("The multipart form is malformed.")
        query = [item for item in request.query_params.multi_items() if item[0] != "after" or not ignore_after]
        ids = {name: unquote(value) for name, value in request.path_params.items()}
        origin = "http://{}:{}".format(*request.scope["server"])
        with self.store.lock:
            now = self.store.clock()
            return endpoint(ApiRequest(self.store, now, ids, dict(query), parse_body(body), form, origin))

    def _check_headers(self, path: str, headers: Mapping[str, str]) -> None:
        keys = [name for name in headers if name == "authorization" or name.startswith("x-portkey-")]
        if path.startswith(STORAGE) and keys:
            raise bad_request(f"A signed URL and the header '{keys[0]}': only one is allowed.")
        if not path.startswith(STORAGE) and self.require_authorization and "authorization" not in keys:
            raise ApiError(401, "No key: the Authorization header is missing.", code="invalid_api_key")


class _App(Starlette):
    """Routes by the path as sent, so that an id with an encoded slash stays one segment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__({**scope, "path": scope["raw_path"].decode("ascii", "replace")}, receive, send)


async def _read_body(request: Request) -> tuple[bytes, FormData | None]:
    """Return the body, or the form in its place; ``None`` for a malformed form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body(), FormData()
    try:
        return b"", await request.form()
    except (FormParserError, HTTPException):  # some versions of Starlette let the former through
        return b"", None


def _unknown_url(request: ApiRequest) -> dict[str, Any]:
    raise ApiError(404, "There is no such endpoint.", code="unknown_url")
