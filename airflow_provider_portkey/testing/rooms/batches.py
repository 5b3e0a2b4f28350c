"""Batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.content import Content
from airflow_provider_portkey.testing.course import Course, begin
from airflow_provider_portkey.testing.errors import ApiError, bad_request, not_found
from airflow_provider_portkey.testing.paging import PageQuery, Shelf, as_page
from airflow_provider_portkey.testing.rooms.batch import ENDED_STATUSES, Batch, batch_object
from airflow_provider_portkey.testing.rooms.batch_input import CountedInput, FileInput
from airflow_provider_portkey.testing.rooms.batch_output import BatchOutput, Failing
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.rooms.files import Files
from airflow_provider_portkey.testing.spool import Spool

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")


def batch_statuses(seconds: float, *, valid: bool = True) -> list[tuple[str, float]]:
    """Give the script of a batch.

    :param seconds: from the start to the end.
    :param valid: whether its input file passes.
    """
    if not valid:
        return [("validating", 0.0), ("failed", seconds / 8)]
    steps = (("validating", 0.0), ("in_progress", 0.125), ("finalizing", 0.875), ("completed", 1.0))
    return [(status, seconds * share) for status, share in steps]


class Batches:
    """Every batch there is, and the calls that create, show and cancel them.

    :param desk: what it shares with the other rooms.
    :param files: where input and output are.
    """

    def __init__(self, desk: Desk, files: Files) -> None:
        self._desk = desk
        self._files = files
        self._batches: Shelf[Batch] = Shelf()

    def add(
        self,
        *,
        batch_id: str | None = None,
        count: int = 3,
        lines: Iterable[str | Mapping[str, Any]] | None = None,
        input_file_id: str | None = None,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, Any] | None = None,
        failing: Failing = (),
        missing: Iterable[str] = (),
        twice: Iterable[str] = (),
        partial: float = 0.5,
        errors: Iterable[Mapping[str, Any]] | None = None,
        seconds: float = 0.0,
        **course: Unpack[Course],
    ) -> dict[str, Any]:
        """Start a batch.

        :param batch_id: ``batch_000001`` and so on where not given.
        :param count: how many requests it has, whose ids are ``request-000001`` and so on.
        :param lines: the lines of its input file, in place of a count: texts or objects.
        :param input_file_id: a file that is there already, in place of both.
        :param endpoint: the path that its requests are for.
        :param failing: the ``custom_id`` of each request that ends up in the error file; or a mapping that
            gives each its HTTP status (400 where only ids are given), or the ``error`` that it has in place
            of an answer: ``{"a": 429, "b": {"code": "timeout", "message": "..."}}``.
        :param missing: which requests are in neither file, although the batch counts them as completed.
        :param twice: which requests are in the output file twice.
        :param partial: the share of its requests that an expired batch had done.
        :param errors: what a failed batch reports: ``code``, ``message``, ``line``. One whose input file is
            not fit reports what is wrong with it, and fails, where no ``statuses`` are given.
        :param seconds: how long it takes where no ``statuses`` are given.
        :param course: its way; see :class:`.Course`.
        :return: the batch's object.
        :raises ValueError: for an id that is taken already, for a file that is not there, and for a script
            that makes no sense.
        """
        with self._desk.lock:
            now = self._desk.clock()
            batch_id = batch_id or self._desk.ids.new("batch", self._batches)
            requests: CountedInput | FileInput
            found: list[dict[str, Any]] = []
            if lines is None and input_file_id is None:
                requests = counted = CountedInput(count, endpoint)
                stored = self._files.store(
                    lambda: Spool.filled(counted.lines()), filename="input.jsonl", purpose="batch"
                )
            else:
                if lines is not None:
                    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
                    input_file_id = self._files.add(texts, file_id=input_file_id, filename="input.jsonl")["id"]
                known = self._files.get(input_file_id or "")
                if known is None:
                    raise ValueError(f"There is no file with the id '{input_file_id}'")
                stored = known
                requests = FileInput(stored.spool, endpoint)
                found = requests.errors
            if found:
                # Nothing of such a file is ever asked for again.
                requests = CountedInput(0, endpoint)
            course.setdefault("statuses", batch_statuses(seconds, valid=not found))
            batch = Batch(
                id=batch_id,
                endpoint=endpoint,
                input_file_id=stored.id,
                completion_window=completion_window,
                metadata=None if metadata is None else dict(metadata),
                total=len(requests),
                output=BatchOutput(requests, endpoint, failing=failing, missing=missing, twice=twice),
                partial=partial,
                errors=found or [dict(error) for error in errors or ()],
                **begin(now, **course),
            )
            self._batches.add(batch)
            batch.settle(now)
            return batch_object(batch, self._files)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        yield "POST", "/batches", self._create
        yield "GET", "/batches", self._list
        yield "GET", "/batches/{batch}", self._get
        yield "POST", "/batches/{batch}/cancel", self._cancel
        yield "GET", "/batches/{batch}/output", self._output

    def _create(self, call: Call) -> dict[str, Any]:
        body = call.body
        stored = self._files.get(str(body.get("input_file_id")))
        if stored is None:
            raise bad_request("'input_file_id' names no file.", param="input_file_id")
        if body.get("endpoint") not in ENDPOINTS:
            raise bad_request(f"'endpoint' has to be one of {list(ENDPOINTS)}.", param="endpoint")
        if body.get("completion_window") not in ("24h", "immediate"):
            raise bad_request("'completion_window' has to be '24h'.", param="completion_window")
        plan = self._desk.planned("batches")
        made = self.add(
            input_file_id=stored.id,
            endpoint=body["endpoint"],
            completion_window=body["completion_window"],
            metadata=body.get("metadata"),
            **{"seconds": self._desk.job_seconds, **plan},
        )
        batch = self._batches.get(made["id"])
        assert batch is not None
        # The answer to the POST has seen the first status, as the one to a GET would have.
        batch.script.look(call.now)
        return made

    def _list(self, call: Call) -> dict[str, Any]:
        query = {name: call.query[name] for name in ("after", "limit") if name in call.query}
        batches, has_more = self._batches.page(PageQuery.parse(query))
        for batch in batches:
            batch.settle(call.now)
        return as_page([batch_object(batch, self._files) for batch in batches], has_more)

    def _get(self, call: Call) -> dict[str, Any]:
        batch = self._find(call)
        batch.script.look(call.now)
        batch.settle(call.now)
        return batch_object(batch, self._files)

    def _cancel(self, call: Call) -> dict[str, Any]:
        batch = self._find(call)
        batch.settle(call.now)
        if batch.status in ENDED_STATUSES:
            raise ApiError(409, f"A batch that is {batch.status} cannot be cancelled.")
        if batch.status != "cancelling":
            batch.script.replace(["cancelling", "cancelled"], call.now, advance="per_poll")
        return batch_object(batch, self._files)

    def _output(self, call: Call) -> dict[str, Any] | Content:
        batch = self._find(call)
        batch.settle(call.now)
        shown = batch_object(batch, self._files)
        if shown["output_file_id"] is not None:
            return Content(batch.output.lines(batch.done))
        if shown["errors"] is not None:
            # The gateway answers 200 with the errors of a batch that has no output.
            return dict(shown["errors"])
        raise ApiError(404, f"The batch '{batch.id}' is {batch.status} and has no output.")

    def _find(self, call: Call) -> Batch:
        batch = self._batches.get(call.ids["batch"])
        if batch is None:
            raise not_found("batch", call.ids["batch"])
        return batch
