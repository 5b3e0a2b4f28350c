"""The endpoints outside ``/v1`` by which another process scripts the stand-in and reads what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_portkey.testing.answers import refusal
from airflow_provider_portkey.testing.calls import RecordedRequest, parse_body
from airflow_provider_portkey.testing.errors import ApiError, bad_request


def control_routes(
    *,
    fault: Callable[..., Any],
    add_run: Callable[..., dict[str, Any]],
    requests: Callable[[], list[RecordedRequest]],
) -> list[Route]:
    """Make the control endpoints.

    ``POST /_stand_in/faults`` and ``POST /_stand_in/runs`` take a JSON object with the parameters of
    :meth:`PortkeyStandIn.fault` and :meth:`PortkeyStandIn.add_run`; ``GET /_stand_in/requests`` lists what
    was recorded. None of them asks for a key: the stand-in is on loopback only.
    """

    async def set_fault(request: Request) -> Response:
        return _apply(fault, await request.body(), lambda _: {})

    async def set_run(request: Request) -> Response:
        return _apply(add_run, await request.body(), lambda run: run)

    async def list_requests(request: Request) -> Response:
        recorded = [dataclasses.asdict(one) for one in requests()]
        return JSONResponse([{**one, "body": one["body"].decode("utf-8", "replace")} for one in recorded])

    return [
        Route("/_stand_in/faults", set_fault, methods=["POST"]),
        Route("/_stand_in/runs", set_run, methods=["POST"]),
        Route("/_stand_in/requests", list_requests, methods=["GET"]),
    ]


def _apply(function: Callable[..., Any], body: bytes, show: Callable[[Any], dict[str, Any]]) -> Response:
    try:
        return JSONResponse(show(function(**parse_body(body))))
    except ApiError as error:
        return refusal(error)
    except (TypeError, ValueError) as error:
        return refusal(bad_request(str(error)))
