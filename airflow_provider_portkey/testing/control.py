"""The endpoints outside ``/v1`` by which another process controls the mock server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_portkey.testing.app import RecordedRequest, parse_body
from airflow_provider_portkey.testing.errors import ApiError, bad_request, json_error


def control_routes(
    *, actions: Mapping[str, Callable[..., Any]], recorded: Mapping[str, Callable[[], list[RecordedRequest]]]
) -> Iterator[Route]:
    """
    Return the control endpoints. None of them needs a key: the mock server is on loopback only.

    :param actions: called by ``POST /_mock_server/<name>`` with the fields of its JSON object.
    :param recorded: listed by ``GET /_mock_server/<name>``.
    """

    def action_route(name: str, action: Callable[..., Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                result = action(**parse_body(await request.body()))
            except ApiError as error:
                return json_error(error)
            except (TypeError, ValueError) as error:
                return json_error(bad_request(str(error)))
            return JSONResponse(result if isinstance(result, dict) else {})

        return Route(f"/_mock_server/{name}", endpoint, methods=["POST"])

    def list_route(name: str, list_requests: Callable[[], list[RecordedRequest]]) -> Route:
        async def endpoint(request: Request) -> Response:
            found = [dataclasses.asdict(one) for one in list_requests()]
            return JSONResponse([{**one, "body": one["body"].decode("utf-8", "replace")} for one in found])

        return Route(f"/_mock_server/{name}", endpoint, methods=["GET"])

    yield from (action_route(name, action) for name, action in actions.items())
    yield from (list_route(name, list_requests) for name, list_requests in recorded.items())
