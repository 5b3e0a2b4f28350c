"""Error responses of the mock server."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.responses import JSONResponse, Response


class ApiError(Exception):
    """An error in the shape of OpenAI-compatible servers; ``param`` names an invalid parameter."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(400, message, param=param)


def not_found(kind: str, item_id: str) -> ApiError:
    """Return the 404 for an unknown id of a ``thread``, a ``run`` ..."""
    return ApiError(404, f"No {kind} found with id '{item_id}'.")


def json_error(error: ApiError) -> Response:
    """Return the response of an OpenAI-compatible server."""
    return JSONResponse(error.as_dict(), status_code=error.status)


def xml_error(error: ApiError) -> Response:
    """Return the response of an object store."""
    code, message = escape(error.code or "InvalidRequest"), escape(error.message)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status_code=error.status, media_type="application/xml")
