"""Batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute, WholeFileResponse
from airflow_provider_portkey.testing.errors import ApiError, bad_request
from airflow_provider_portkey.testing.resources import batch_lines
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.resources.files import Files
from airflow_provider_portkey.testing.scenario import CountedJob
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Timeline

#: Seconds of the only completion window.
_COMPLETION_WINDOW = 24 * 3600

#: The fields of a create request, beside its metadata.
_GIVEN = ("input_file_id", "endpoint", "completion_window")

_TIMESTAMPS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def batch_statuses(seconds: float) -> list[tuple[str, float]]:
    """
    Return the timeline of a batch that completes.

    :param seconds: from the start to the end.
    """
    shares = (("validating", 0.0), ("in_progress", 0.125), ("finalizing", 0.875), ("completed", 1.0))
    return [(status, seconds * share) for status, share in shares]


@dataclass(kw_only=True)
class Batch(CountedJob):
    """
    A batch; further parameters are those of :class:`.Job`.

    :param batch_id: ``batch_000001`` and so on where not given.
    :param count: the number of requests, whose ids are ``request-000001`` and so on.
    :param lines: the lines of the input file, in place of a count: strings or objects.
    :param input_file_id: an existing file, in place of both.
    :param endpoint: the path that the requests are for.
    :param failing: the ``custom_id`` of each request in the error file; or a mapping of each to its HTTP status (400
        where only ids are given), or to the ``error`` in place of a response:
        ``{"a": 429, "b": {"code": "timeout", "message": "..."}}``.
    :param missing: the requests in neither file, although the batch counts them as completed.
    :param twice: the requests that are twice in the output file.
    :param partial: the share of requests that an expired batch has processed.
    :param errors: what a failed batch reports: ``code``, ``message``, ``line``. A batch with an invalid input file
        reports the file's errors, and fails unless ``statuses`` are given.
    :param seconds: the duration where no ``statuses`` are given.
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
    errors: Iterable[Mapping[str, Any]] | None = None
    seconds: float = 0.0
    results: batch_lines.BatchResults = field(init=False)
    #: The ids of its output file and its error file, once there are any.
    file_ids: dict[str, str] = field(init=False, default_factory=dict)


class Batches(JobResource[Batch]):
    """
    All batches.

    :param files: their input and output.
    """

    job_class = Batch
    name = "batches"
    kind = "batch"
    path = "/batches/{batch_id}"
    id_prefix = "batch"
    cancel_statuses = ("cancelling", "cancelled")
    not_cancellable = frozenset({"completed", "failed", "expired", "cancelled"})
    cancel_error_status = 409
    list_parameters = ("limit", "after")

    def __init__(self, store: Store, files: Files) -> None:
        super().__init__(store)
        self._files = files

    def prepare(self, job: Batch) -> None:
        requests, errors = self._read_input(job)
        job.errors = errors or [dict(error) for error in job.errors or ()]
        job.total = len(requests)
        job.results = batch_lines.BatchResults(
            requests, job.endpoint, failing=job.failing, missing=job.missing, twice=job.twice
        )
        if job.statuses is None:
            failure = [("validating", 0.0), ("failed", job.seconds / 8)]
            statuses = failure if errors else batch_statuses(job.seconds)
            job.timeline = Timeline(statuses, advance=job.advance, started=job.timeline.started)

    def serialize(self, job: Batch) -> dict[str, Any]:
        failed = job.results.failed(job.done)
        message = "The mock server fails this batch, as planned."
        errors = job.errors or [{"code": "server_error", "message": message, "param": None, "line": None}]
        if job.status in ("completed", "expired", "cancelled") and not job.file_ids:
            self._keep_results(job, failed)
        return {
            **{name: getattr(job, name) for name in ("id", "status", "metadata", *_GIVEN)},
            "object": "batch",
            "errors": {"object": "list", "data": errors} if job.status == "failed" else None,
            "output_file_id": job.file_ids.get("output"),
            "error_file_id": job.file_ids.get("error"),
            "created_at": job.created,
            "expires_at": job.created + _COMPLETION_WINDOW,
            **{f"{status}_at": job.reached_at(status) for status in _TIMESTAMPS},
            "request_counts": {"total": job.total, "completed": job.done - failed, "failed": failed},
            **job.fields,
        }

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "POST", self.list_path, self._create
        yield "GET", self.path + "/output", self._output

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        body = request.body
        if self._files.get(str(body.get("input_file_id"))) is None:
            raise bad_request("'input_file_id' names no file.", param="input_file_id")
        if body.get("endpoint") not in batch_lines.ENDPOINTS:
            raise bad_request(f"'endpoint' has to be one of {list(batch_lines.ENDPOINTS)}.", param="endpoint")
        if body.get("completion_window") not in ("24h", "immediate"):
            raise bad_request("'completion_window' has to be '24h'.", param="completion_window")
        given = {name: body.get(name) for name in (*_GIVEN, "metadata")}
        return self.serialize(self.create({}, seconds=self.store.job_seconds, **given))

    def _output(self, request: ApiRequest) -> dict[str, Any] | Response:
        batch = self.find(request.ids)
        batch.update(request.now)
        shown = self.serialize(batch)
        output = self._files.get(batch.file_ids.get("output", ""))
        if output is not None:
            # The gateway transforms the output on the way, and so knows no ranges of it.
            return WholeFileResponse(output.path, media_type="application/octet-stream")
        if shown["errors"] is not None:
            # The gateway responds with 200 and the errors of a batch that has no output.
            return dict(shown["errors"])
        raise ApiError(404, f"The batch '{batch.id}' is {batch.status} and has no output.")

    def _read_input(self, job: Batch) -> tuple[batch_lines.BatchRequests, list[dict[str, Any]]]:
        if job.lines is None and job.input_file_id is None:
            requests = batch_lines.generated_requests(job.count)
            lines = batch_lines.input_lines
            job.input_file_id = self._files.keep(lambda: lines(requests, job.endpoint), "input.jsonl", "batch").id
            return requests, []
        if job.lines is not None:
            strings = (line if isinstance(line, str) else json.dumps(line) for line in job.lines)
            job.input_file_id = self._files.add(strings, file_id=job.input_file_id, filename="input.jsonl")["id"]
        stored = self._files.get(job.input_file_id or "")
        if stored is None:
            raise ValueError(f"There is no file with the id '{job.input_file_id}'")
        requests, errors = batch_lines.parse_input(stored.path, job.endpoint)
        return ([] if errors else requests), errors

    def _keep_results(self, job: Batch, failed: int) -> None:
        done, expired, results = job.done, job.status == "expired", job.results
        if done > failed:
            output = self._files.keep(lambda: results.output_lines(done), f"{job.id}_output.jsonl", "batch_output")
            job.file_ids["output"] = output.id
        if failed or (expired and done < job.total):
            error = self._files.keep(
                lambda: results.error_lines(done, expired=expired), f"{job.id}_error.jsonl", "batch_output"
            )
            job.file_ids["error"] = error.id
