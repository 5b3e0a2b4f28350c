"""File batches of vector stores: a job of the kind that a user would declare for himself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Unpack

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.course import Course, ScriptedJob, begin
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.rooms.desk import Desk


@dataclass(kw_only=True)
class FileBatch(ScriptedJob):
    """One file batch; its parameters are those of :meth:`FileBatches.add`."""

    vector_store_id: str
    files: int
    failed: int
    #: How many of its files are through, those that failed included.
    done: int = 0

    def settle(self, now: float) -> None:
        """Let the time pass, and the work with it.

        :param now: seconds since the epoch.
        """
        self.script.settle(now)
        if self.status == "in_progress":
            self.done = int(self.files * self.script.share("in_progress", now))
        elif self.status in ("completed", "failed"):
            self.done = self.files


class FileBatches:
    """Every file batch there is, and the calls that show and cancel them.

    :param desk: what it shares with the other rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._batches: dict[tuple[str, str], FileBatch] = {}

    def add(
        self,
        *,
        vector_store_id: str,
        batch_id: str | None = None,
        files: int = 3,
        failed: int = 0,
        **course: Unpack[Course],
    ) -> dict[str, Any]:
        """Start a file batch on a vector store.

        :param batch_id: ``vsfb_000001`` and so on where not given.
        :param files: how many files it has.
        :param failed: how many of them fail, after all the others.
        :param course: its way; see :class:`.Course`.
        :return: the batch's object.
        :raises ValueError: for an id that is taken already, and for a script that makes no sense.
        """
        with self._desk.lock:
            now = self._desk.clock()
            batch_id = batch_id or self._desk.ids.new("vsfb", {taken for _, taken in self._batches})
            if (vector_store_id, batch_id) in self._batches:
                raise ValueError(f"The id '{batch_id}' is taken already")
            batch = FileBatch(
                id=batch_id, vector_store_id=vector_store_id, files=files, failed=failed, **begin(now, **course)
            )
            batch.settle(now)
            self._batches[vector_store_id, batch_id] = batch
            return file_batch_object(batch)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        batch = "/vector_stores/{store}/file_batches/{batch}"
        yield "GET", batch, self._get
        yield "POST", batch + "/cancel", self._cancel

    def _get(self, call: Call) -> dict[str, Any]:
        batch = self._find(call)
        batch.script.look(call.now)
        batch.settle(call.now)
        return file_batch_object(batch)

    def _cancel(self, call: Call) -> dict[str, Any]:
        batch = self._find(call)
        batch.settle(call.now)
        if batch.status != "in_progress":
            raise bad_request(f"A file batch that is {batch.status} cannot be cancelled.")
        batch.script.replace("cancelled", call.now)
        return file_batch_object(batch)

    def _find(self, call: Call) -> FileBatch:
        batch = self._batches.get((call.ids["store"], call.ids["batch"]))
        if batch is None:
            raise not_found("file batch", call.ids["batch"])
        return batch


def file_batch_object(batch: FileBatch) -> dict[str, Any]:
    """Show a file batch as it stood at the last look."""
    failed = max(batch.done - (batch.files - batch.failed), 0)
    waiting = batch.files - batch.done
    cancelled = batch.status == "cancelled"
    return {
        "id": batch.id,
        "object": "vector_store.file_batch",
        "created_at": batch.created_at,
        "vector_store_id": batch.vector_store_id,
        "status": batch.status,
        "file_counts": {
            "in_progress": 0 if cancelled else waiting,
            "completed": batch.done - failed,
            "failed": failed,
            "cancelled": waiting if cancelled else 0,
            "total": batch.files,
        },
        **batch.fields,
    }
