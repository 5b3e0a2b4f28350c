"""What the mock server answers when it refuses a call."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A refusal, in the shape that OpenAI-compatible servers give it.

    :param status: the HTTP status.
    :param message: a sentence for people.
    :param param: the parameter at fault, where there is one.
    :param code: a word for programs, where there is one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON body of the refusal."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def bad_request(message: str, *, param: str | None = None) -> ApiError:
    """Make a 400."""
    return ApiError(400, message, param=param)


def not_found(kind: str, item_id: str) -> ApiError:
    """Make the 404 for an id that nothing bears.

    :param kind: what was looked for: ``thread``, ``run`` ...
    :param item_id: the id as the caller gave it, decoded.
    """
    return ApiError(404, f"No {kind} found with id '{item_id}'.")
