"""The lines of a batch's files: the requests that it reads, and the results that it writes."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

#: The requests that fail: their ids; or each id with its HTTP status, or with the error in place of a response.
Failing: TypeAlias = Iterable[str] | Mapping[str, int | Mapping[str, Any]]

#: ``custom_id`` and model of each request.
BatchRequests: TypeAlias = list[tuple[str, str]]

#: The paths that a batch can be for.
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

#: Validation of an input file stops after this many errors.
_MAX_ERRORS = 10

_EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}


def generated_requests(count: int) -> BatchRequests:
    """Return requests with the ids ``request-000001``, ``request-000002`` ..."""
    return [(f"request-{number:06d}", "mock-model") for number in range(1, count + 1)]


def input_lines(requests: BatchRequests, endpoint: str) -> Iterator[bytes]:
    """Return the input file of generated requests."""
    for number, (custom_id, model) in enumerate(requests, start=1):
        body = {"model": model, "messages": [{"role": "user", "content": f"Question {number}."}]}
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        yield json.dumps(line).encode() + b"\n"


def parse_input(path: Path, endpoint: str) -> tuple[BatchRequests, list[dict[str, Any]]]:
    """
    Parse an input file.

    :param endpoint: the path that every request has to be for.
    :return: the requests, and the first errors in the form in which a batch reports them.
    """
    requests: dict[str, str] = {}
    errors: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate((line for line in file if line.strip()), start=1):
            error = _parse_line(line, endpoint, requests)
            if error is not None:
                errors.append({"code": error[0], "message": error[1], "param": None, "line": number})
                if len(errors) == _MAX_ERRORS:
                    break
    if not requests and not errors:
        message = "The input file has no requests."
        errors.append({"code": "empty_file", "message": message, "param": None, "line": None})
    return list(requests.items()), errors


def _parse_line(raw: bytes, endpoint: str, requests: dict[str, str]) -> tuple[str, str] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return "invalid_json_line", "This line is not parseable as valid JSON."
    if not isinstance(line, dict) or not isinstance(line.get("custom_id"), str):
        return "missing_required_parameter", "The 'custom_id' is missing."
    custom_id, body = line["custom_id"], line.get("body")
    if line.get("url") != endpoint:
        return "mismatched_endpoint", f"The 'url' has to be '{endpoint}'."
    if not isinstance(body, dict):
        return "missing_required_parameter", "The 'body' is missing."
    if custom_id in requests:
        return "duplicate_custom_id", f"The custom_id '{custom_id}' is not unique."
    requests[custom_id] = str(body.get("model", "mock-model"))
    return None


class BatchResults:
    """
    The lines of the output file and of the error file, in an order other than that of the requests.

    :param endpoint: the path that the requests are for; it decides the shape of a response.
    :param failing: the requests in the error file; see :data:`Failing`. Those with neither a status nor an error
        get a 400.
    :param missing: the requests in neither file.
    :param twice: the requests that are twice in the output file.
    """

    def __init__(
        self,
        requests: BatchRequests,
        endpoint: str,
        *,
        failing: Failing = (),
        missing: Iterable[str] = (),
        twice: Iterable[str] = (),
    ) -> None:
        self._endpoint = endpoint
        self._requests = list(requests)
        random.Random(0).shuffle(self._requests)  # noqa: S311 (no secret; the same order every time)
        self._failing = dict(failing) if isinstance(failing, Mapping) else dict.fromkeys(failing, 400)
        self._missing = frozenset(missing)
        self._twice = frozenset(twice)
        numbered = enumerate(self._requests)
        self._failing_positions = [position for position, (custom_id, _) in numbered if custom_id in self._failing]

    def failed(self, done: int) -> int:
        """
        Count the failures among the processed requests.

        :param done: the number of processed requests.
        """
        return bisect_left(self._failing_positions, done)

    def output_lines(self, done: int) -> Iterator[bytes]:
        """
        Return the output file; duplicates are at its end.

        :param done: the number of processed requests.
        """
        duplicates: list[bytes] = []
        for position, (custom_id, model) in enumerate(self._requests[:done]):
            if custom_id not in self._failing and custom_id not in self._missing:
                line = _result(position, custom_id, 200, _response_body(self._endpoint, custom_id, model))
                yield line
                if custom_id in self._twice:
                    duplicates.append(line)
        yield from duplicates

    def error_lines(self, done: int, *, expired: bool) -> Iterator[bytes]:
        """
        Return the error file.

        :param done: the number of processed requests.
        :param expired: whether all others are reported as expired.
        """
        for position in self._failing_positions[: self.failed(done)]:
            custom_id = self._requests[position][0]
            failure = self._failing[custom_id]
            if isinstance(failure, Mapping):
                yield _result(position, custom_id, error=failure)
            else:
                message = f"The mock server fails '{custom_id}', as planned."
                error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
                yield _result(position, custom_id, failure, {"error": error})
        for position in range(done, len(self._requests) if expired else done):
            yield _result(position, self._requests[position][0], error=_EXPIRED)


def _result(position: int, custom_id: str, status: int = 0, body: Any = None, error: Any = None) -> bytes:
    response = {"status_code": status, "request_id": f"req_{position:08d}", "body": body} if status else None
    line = {"id": f"batch_req_{position:08d}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _response_body(endpoint: str, custom_id: str, model: str) -> dict[str, Any]:
    output = f"Output of {custom_id}."
    if endpoint == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
        return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    if endpoint == "/v1/responses":
        content = [{"type": "output_text", "text": output, "annotations": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
        return {
            "object": "response",
            "id": f"resp-{custom_id}",
            "model": model,
            "status": "completed",
            "output": [item],
        }
    body: dict[str, Any] = {"created": 1700000000, "model": model}
    body["usage"] = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    if endpoint == "/v1/completions":
        return {"object": "text_completion", "id": f"cmpl-{custom_id}", "choices": [{**choice, "text": output}], **body}
    choice["message"] = {"role": "assistant", "content": output, "refusal": None}
    return {"object": "chat.completion", "id": f"chatcmpl-{custom_id}", "choices": [choice], **body}
