"""The endpoints outside ``/v1`` by which another process scripts the mock server and reads what it saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_portkey.testing.answers import refusal
from airflow_provider_portkey.testing.calls import RecordedRequest, parse_body
from airflow_provider_portkey.testing.errors import ApiError, bad_request


def control_routes(
    *,
    actions: Mapping[str, Callable[..., Any]],
    recorded: Mapping[str, Callable[[], list[RecordedRequest]]],
) -> Iterator[Route]:
    """Make the control endpoints. None of them asks for a key: the mock server is on loopback only.

    :param actions: what ``POST /_mock_server/<name>`` calls with the JSON object that it is sent.
    :param recorded: what ``GET /_mock_server/<name>`` lists.
    """
    for name, action in actions.items():
        yield Route(f"/_mock_server/{name}", _acting(action), methods=["POST"])
    for name, listing in recorded.items():
        yield Route(f"/_mock_server/{name}", _listing(listing), methods=["GET"])


def _acting(action: Callable[..., Any]) -> Callable[[Request], Any]:
    async def act(request: Request) -> Response:
        try:
            made = action(**parse_body(await request.body()))
        except ApiError as error:
            return refusal(error)
        except (TypeError, ValueError) as error:
            return refusal(bad_request(str(error)))
        return JSONResponse(made if isinstance(made, dict) else {})

    return act


def _listing(listing: Callable[[], list[RecordedRequest]]) -> Callable[[Request], Any]:
    async def show(request: Request) -> Response:
        recorded = [dataclasses.asdict(one) for one in listing()]
        return JSONResponse([{**one, "body": one["body"].decode("utf-8", "replace")} for one in recorded])

    return show
