"""Batches, and the lines of their files: the requests that a batch reads, and the results that it writes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from starlette.responses import Response

from airflow_provider_portkey.testing.app import ApiRequest
from airflow_provider_portkey.testing.faults import ApiError, bad_request
from airflow_provider_portkey.testing.resources.jobs import Job
from airflow_provider_portkey.testing.timeline import Timeline

#: The requests that fail: their ids; or each id with its HTTP status, or with the error in place of a response.
Failing: TypeAlias = Iterable[str] | Mapping[str, int | Mapping[str, Any]]

_MESSAGE = {"role": "assistant", "content": "An output."}
_OUTPUT = {**_MESSAGE, "type": "message", "content": [{"type": "output_text", "text": "An output."}]}

#: The paths that a batch can be for, each with the fields of a response that only it has.
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"object": "chat.completion", "choices": [{"index": 0, "message": _MESSAGE}]},
    "/v1/completions": {"object": "text_completion", "choices": [{"index": 0, "text": "An output."}]},
    "/v1/embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]},
    "/v1/responses": {"object": "response", "status": "completed", "output": [_OUTPUT]},
}

_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}

#: The errors of an input file that a batch reports at most.
_MAX_ERRORS = 10

_EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}

#: Seconds of the only completion window.
_COMPLETION_WINDOW = 24 * 3600

#: The fields of a create request.
_GIVEN = ("input_file_id", "endpoint", "completion_window", "metadata")


@dataclass(kw_only=True)
class Batch(Job):
    """
    A batch; further parameters are those of :class:`.Job`.

    :param batch_id: ``batch_000001`` and so on where not given.
    :param count: the number of requests, whose ids are ``request-000001`` and so on.
    :param lines: the lines of the input file, in place of a count: strings or objects.
    :param input_file_id: an existing file, in place of both.
    :param endpoint: the path that the requests are for.
    :param failing: the ``custom_id`` of each request in the error file; or a mapping of each to its HTTP status (400
        where not given), or to an error in place of a response: ``{"code": "timeout", "message": "..."}``.
    :param missing: the requests in neither file, although the batch counts them as completed.
    :param twice: the requests that are twice in the output file.
    :param texts: the text of the message in the response to each request, ``An output.`` where not given.
    :param cost: the cost in the usage of each successful request.
    :param partial: the share of requests that an expired batch has processed.
    :param errors: what a failed batch reports: ``code``, ``message``, ``line``. A batch with an invalid input file
        reports the file's errors, and fails unless ``statuses`` are given.
    :raises ValueError: for an unknown file.
    """

    batch_id: str | None = None
    count: int = 3
    lines: Iterable[str | Mapping[str, Any]] | None = None
    input_file_id: str | None = None
    endpoint: str = "/v1/chat/completions"
    completion_window: str = "24h"
    metadata: Mapping[str, Any] | None = None
    failing: Failing = ()
    missing: Iterable[str] = ()
    twice: Iterable[str] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    cost: float | None = None
    partial: float = 0.5
    errors: Iterable[Mapping[str, Any]] | None = None
    failures: dict[str, int | Mapping[str, Any]] = field(init=False)
    #: The model of each request, by its ``custom_id``, and the ids in the order of the results, which is another one.
    models: dict[str, str] = field(init=False)
    order: list[str] = field(init=False)
    #: The ids of its output file and its error file, once there are any.
    file_ids: dict[str, str] = field(init=False, default_factory=dict)

    name = "batches"
    kind = "batch"
    path = "/v1/batches/{batch_id}"
    id_prefix = "batch"
    create_paths = ("/v1/batches",)
    endpoints: ClassVar[Mapping[str, str]] = {"GET /output": "get_output"}
    stages: ClassVar[Mapping[str, float]] = {"validating": 0, "in_progress": 0.125, "finalizing": 0.875, "completed": 1}
    final_statuses = frozenset({"completed", "failed", "expired", "cancelled"})
    cancel_statuses = ("cancelling", "cancelled")
    cancel_error_status = 409
    timestamps = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        body = request.body
        if body.get("input_file_id") not in request.store.files:
            raise bad_request("'input_file_id' names no file.", param="input_file_id")
        if body.get("endpoint") not in BODIES:
            raise bad_request(f"'endpoint' has to be one of {list(BODIES)}.", param="endpoint")
        if body.get("completion_window") not in ("24h", "immediate"):
            raise bad_request("'completion_window' has to be '24h'.", param="completion_window")
        return {name: body.get(name) for name in _GIVEN}

    def prepare(self) -> None:
        files, lines = self.store.files, self.lines
        if lines is not None:
            strings = (line if isinstance(line, str) else json.dumps(line) for line in lines)
            self.input_file_id = files.add(strings, file_id=self.input_file_id, filename="input.jsonl")["id"]
        elif self.input_file_id is None:
            generated = generated_requests(self.count, self.endpoint)
            self.input_file_id = files.add(generated, filename="input.jsonl")["id"]
        if self.input_file_id not in files:
            raise ValueError(f"There is no file with the id '{self.input_file_id}'")
        self.models, errors = parse_input(files.path(str(self.input_file_id)), self.endpoint)
        self.errors, self.total = errors or self.errors, 0 if errors else len(self.models)
        self.failures = dict(self.failing if isinstance(self.failing, Mapping) else dict.fromkeys(self.failing, 400))
        self.order = list(self.models)
        random.Random(0).shuffle(self.order)  # noqa: S311 (no secret; the same order every time)
        if errors and self.statuses is None:
            failure = [("validating", 0.0), ("failed", self.seconds / 8)]
            self.timeline = Timeline(failure, advance=self.advance, started=self.timeline.started)

    def update(self, now: float) -> None:
        super().update(now)
        if self.status == "expired":
            self.done = int(self.total * self.partial)
        if self.status in ("completed", "expired", "cancelled") and not self.file_ids:
            self._write_results()

    def details(self) -> dict[str, Any]:
        failed, failure = len(self._failed_ids()), self.failure(None)
        return {
            **{name: getattr(self, name) for name in _GIVEN},
            "object": "batch",
            "errors": {"object": "list", "data": list(self.errors or [failure])} if failure else None,
            "output_file_id": self.file_ids.get("output"),
            "error_file_id": self.file_ids.get("error"),
            "expires_at": self.created + _COMPLETION_WINDOW,
            "request_counts": {"total": self.total, "completed": self.done - failed, "failed": failed},
        }

    def get_output(self, request: ApiRequest) -> dict[str, Any] | Response:
        errors = self.serialize()["errors"]
        if "output" in self.file_ids:
            # The gateway transforms the output on the way, and so knows no ranges of it.
            content = self.store.files.path(self.file_ids["output"]).read_bytes()
            return Response(content, media_type="application/octet-stream")
        if errors is not None:
            # The gateway responds with 200 and the errors of a batch that has no output.
            return dict(errors)
        raise ApiError(404, f"The batch '{self.id}' is {self.status} and has no output.")

    def _failed_ids(self) -> list[str]:
        return [custom_id for custom_id in self.order[: self.done] if custom_id in self.failures]

    def _write_results(self) -> None:
        contents = {"output": list(self._output_lines()), "error": list(self._error_lines())}
        for name, content in contents.items():
            if content:
                about = {"filename": f"{self.id}_{name}.jsonl", "purpose": "batch_output"}
                self.file_ids[name] = self.store.files.add(content, **about)["id"]

    def _output_lines(self) -> Iterator[bytes]:
        left_out, twice = {*self.failures, *self.missing}, set(self.twice)
        succeeded = [custom_id for custom_id in self.order[: self.done] if custom_id not in left_out]
        cost = {} if self.cost is None else {"cost": self.cost}
        for custom_id in [*succeeded, *(one for one in succeeded if one in twice)]:
            body = {**BODIES[self.endpoint], "id": f"object-{custom_id}", "model": self.models[custom_id]}
            if (text := self.texts.get(custom_id)) is not None:
                body |= _with_text(self.endpoint, text)
            yield _result(custom_id, 200, {**body, "usage": _USAGE | cost})

    def _error_lines(self) -> Iterator[bytes]:
        for custom_id in self._failed_ids():
            failure = self.failures[custom_id]
            if isinstance(failure, Mapping):
                yield _result(custom_id, error=failure)
            else:
                error = ApiError(failure, f"The mock server fails '{custom_id}', as planned.")
                yield _result(custom_id, failure, error.body)
        if self.status == "expired":
            for custom_id in self.order[self.done :]:
                yield _result(custom_id, error=_EXPIRED)


def _with_text(endpoint: str, text: str) -> dict[str, Any]:
    """Return the fields of a response with a text of its own."""
    if endpoint == "/v1/responses":
        return {"output": [{**_OUTPUT, "content": [{"type": "output_text", "text": text}]}]}
    if endpoint == "/v1/completions":
        return {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}
    return {"choices": [{"index": 0, "message": {**_MESSAGE, "content": text}, "finish_reason": "stop"}]}


def generated_requests(count: int, endpoint: str) -> Iterator[bytes]:
    """Return an input file with the ids ``request-000001``, ``request-000002`` ..."""
    for number in range(1, count + 1):
        body = {"model": "mock-model", "messages": [{"role": "user", "content": f"Question {number}."}]}
        yield _to_line({"custom_id": f"request-{number:06d}", "method": "POST", "url": endpoint, "body": body})


def parse_input(path: Path, endpoint: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the model of each request of a file, by its ``custom_id``, and the errors as a batch reports them."""
    models: dict[str, str] = {}
    errors: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, raw in enumerate((line for line in file if line.strip()), start=1):
            try:
                line = json.loads(raw)
                custom_id, url, model = str(line["custom_id"]), line["url"], line["body"].get("model", "mock-model")
            except ValueError:
                code = "invalid_json_line"
            except (AttributeError, KeyError, TypeError):
                code = "missing_required_parameter"
            else:
                code = "duplicate_custom_id" if custom_id in models else ""
                code = code if url == endpoint else "mismatched_endpoint"
                models[custom_id] = model
            if code:
                errors.append({"code": code, "message": f"Line {number}: {code}.", "param": None, "line": number})
    if not models and not errors:
        errors.append({"code": "empty_file", "message": "The input file has no requests.", "line": None})
    return models, errors[:_MAX_ERRORS]


def _result(custom_id: str, status: int = 0, body: Any = None, error: Any = None) -> bytes:
    response = {"status_code": status, "request_id": f"req_{custom_id}", "body": body} if status else None
    return _to_line({"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": response, "error": error})


def _to_line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
