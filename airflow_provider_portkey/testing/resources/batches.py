"""Batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.responses import Response

from airflow_provider_portkey.testing.app import ApiRequest, WholeFileResponse
from airflow_provider_portkey.testing.faults import ApiError, bad_request
from airflow_provider_portkey.testing.resources import batch_lines
from airflow_provider_portkey.testing.resources.jobs import Job

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
    failing: batch_lines.Failing = ()
    missing: Iterable[str] = ()
    twice: Iterable[str] = ()
    partial: float = 0.5
    errors: Iterable[Mapping[str, Any]] | None = None
    results: batch_lines.BatchResults = field(init=False)
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
        if body.get("endpoint") not in batch_lines.BODIES:
            raise bad_request(f"'endpoint' has to be one of {list(batch_lines.BODIES)}.", param="endpoint")
        if body.get("completion_window") not in ("24h", "immediate"):
            raise bad_request("'completion_window' has to be '24h'.", param="completion_window")
        return {name: body.get(name) for name in _GIVEN}

    def prepare(self) -> None:
        files, lines = self.store.files, self.lines
        if lines is not None:
            strings = (line if isinstance(line, str) else json.dumps(line) for line in lines)
            self.input_file_id = files.add(strings, file_id=self.input_file_id, filename="input.jsonl")["id"]
        elif self.input_file_id is None:
            generated = batch_lines.generated_requests(self.count, self.endpoint)
            self.input_file_id = files.add(generated, filename="input.jsonl")["id"]
        if self.input_file_id not in files:
            raise ValueError(f"There is no file with the id '{self.input_file_id}'")
        models, errors = batch_lines.parse_input(files.path(str(self.input_file_id)), self.endpoint)
        self.results = batch_lines.BatchResults(models, self.endpoint, self.failing)
        self.errors, self.total = errors or self.errors, 0 if errors else len(models)
        if errors and self.statuses is None:
            failure = [("validating", 0.0), ("failed", self.seconds / 8)]
            self.timeline.replace(failure, self.store.clock(), polled=False)

    def update(self, now: float) -> None:
        super().update(now)
        if self.status == "expired":
            self.done = int(self.total * self.partial)
        if self.status in ("completed", "expired", "cancelled") and not self.file_ids:
            self._write_results(expired=self.status == "expired")

    def details(self) -> dict[str, Any]:
        failed, failure = self.results.failed(self.done), self.failure(None)
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
        self.update(request.now)
        if "output" in self.file_ids:
            # The gateway transforms the output on the way, and so knows no ranges of it.
            path = self.store.files.path(self.file_ids["output"])
            return WholeFileResponse(path, media_type="application/octet-stream")
        if self.status == "failed":
            # The gateway responds with 200 and the errors of a batch that has no output.
            return dict(self.details()["errors"])
        raise ApiError(404, f"The batch '{self.id}' is {self.status} and has no output.")

    def _write_results(self, *, expired: bool) -> None:
        failed, done = self.results.failed(self.done), self.done
        contents: dict[str, Iterable[bytes]] = {}
        if done > failed:
            contents["output"] = self.results.output_lines(done, self.missing, self.twice)
        if failed or (expired and done < self.total):
            contents["error"] = self.results.error_lines(done, expired=expired)
        for name, content in contents.items():
            about = {"filename": f"{self.id}_{name}.jsonl", "purpose": "batch_output"}
            self.file_ids[name] = self.store.files.add(content, **about)["id"]
