"""The lines of a batch's files: the requests that it reads, and the results that it writes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

#: The requests that fail: their ids; or each id with its HTTP status, or with the error in place of a response.
Failing: TypeAlias = Iterable[str] | Mapping[str, int | Mapping[str, Any]]

_MESSAGE = {"role": "assistant", "content": "An answer."}
_OUTPUT = {**_MESSAGE, "type": "message", "content": [{"type": "output_text", "text": "An answer."}]}

#: The paths that a batch can be for, each with the fields of a response that only it has.
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"object": "chat.completion", "choices": [{"index": 0, "message": _MESSAGE}]},
    "/v1/completions": {"object": "text_completion", "choices": [{"index": 0, "text": "An answer."}]},
    "/v1/embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]},
    "/v1/responses": {"object": "response", "status": "completed", "output": [_OUTPUT]},
}

_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}

#: Validation of an input file stops after this many errors.
_MAX_ERRORS = 10

_EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}


def generated_requests(count: int, endpoint: str) -> Iterator[bytes]:
    """Return an input file with the ids ``request-000001``, ``request-000002`` ..."""
    for number in range(1, count + 1):
        body = {"model": "mock-model", "messages": [{"role": "user", "content": f"Question {number}."}]}
        yield _to_line({"custom_id": f"request-{number:06d}", "method": "POST", "url": endpoint, "body": body})


def parse_input(path: Path, endpoint: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """
    Parse an input file.

    :param endpoint: the path that every request has to be for.
    :return: the model of each request, by its ``custom_id``, and the first errors as a batch reports them.
    """
    models: dict[str, str] = {}
    errors: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, raw in enumerate((line for line in file if line.strip()), start=1):
            try:
                line = json.loads(raw)
                custom_id, url, model = line["custom_id"], line["url"], line["body"].get("model", "mock-model")
            except ValueError:
                error = "invalid_json_line", "This line is not parseable as valid JSON."
            except (AttributeError, KeyError, TypeError):
                error = "missing_required_parameter", "The 'custom_id', the 'url' or the 'body' is missing."
            else:
                if url == endpoint and custom_id not in models:
                    models[custom_id] = model
                    continue
                error = "duplicate_custom_id", f"The custom_id '{custom_id}' is not unique."
                if url != endpoint:
                    error = "mismatched_endpoint", f"The 'url' has to be '{endpoint}'."
            errors.append({"code": error[0], "message": error[1], "param": None, "line": number})
    if not models and not errors:
        errors.append({"code": "empty_file", "message": "The input file has no requests.", "line": None})
    return models, errors[:_MAX_ERRORS]


class BatchResults:
    """
    The results of a batch, in an order other than that of the requests.

    :param models: the model of each request, by its ``custom_id``.
    :param endpoint: the path that the requests are for; it decides the shape of a response.
    :param failing: the requests in the error file; see :data:`Failing`.
    """

    def __init__(self, models: Mapping[str, str], endpoint: str, failing: Failing = ()) -> None:
        self._models = models
        self._body = BODIES[endpoint]
        self._failing = dict(failing) if isinstance(failing, Mapping) else dict.fromkeys(failing, 400)
        self._ids = list(models)
        random.Random(0).shuffle(self._ids)  # noqa: S311 (no secret; the same order every time)

    def failed(self, done: int) -> int:
        """Count the failures among the first requests."""
        return sum(custom_id in self._failing for custom_id in self._ids[:done])

    def output_lines(self, done: int, missing: Iterable[str] = (), twice: Iterable[str] = ()) -> Iterator[bytes]:
        """
        Return the output file after the first requests.

        :param missing: the requests that it leaves out.
        :param twice: the requests that are at its end again.
        """
        left_out, repeated = {*self._failing, *missing}, frozenset(twice)
        succeeded = [custom_id for custom_id in self._ids[:done] if custom_id not in left_out]
        for custom_id in [*succeeded, *(one for one in succeeded if one in repeated)]:
            body = {**self._body, "id": f"object-{custom_id}", "model": self._models[custom_id], "usage": _USAGE}
            yield _result(custom_id, 200, body)

    def error_lines(self, done: int, *, expired: bool) -> Iterator[bytes]:
        """
        Return the error file after the first requests.

        :param expired: whether all others are reported as expired.
        """
        for custom_id in self._ids[:done]:
            failure = self._failing.get(custom_id)
            if isinstance(failure, Mapping):
                yield _result(custom_id, error=failure)
            elif failure is not None:
                error = {"type": "invalid_request_error", "param": None, "code": None}
                error["message"] = f"The mock server was told to fail '{custom_id}'."
                yield _result(custom_id, failure, {"error": error})
        for custom_id in self._ids[done:] if expired else ():
            yield _result(custom_id, error=_EXPIRED)


def _result(custom_id: str, status: int = 0, body: Any = None, error: Any = None) -> bytes:
    response = {"status_code": status, "request_id": f"req_{custom_id}", "body": body} if status else None
    return _to_line({"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": response, "error": error})


def _to_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
