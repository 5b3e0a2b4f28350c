"""One batch, how far it is, and how it looks on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.course import ScriptedJob
from airflow_provider_portkey.testing.rooms.batch_output import BatchOutput
from airflow_provider_portkey.testing.rooms.files import Files
from airflow_provider_portkey.testing.spool import Spool

ENDED_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})

#: Seconds of the only completion window that there is.
_WINDOW = 24 * 3600

_MOMENTS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


@dataclass(kw_only=True)
class Batch(ScriptedJob):
    """One batch; its parameters are those of :meth:`.Batches.add`."""

    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, Any] | None
    total: int
    output: BatchOutput
    partial: float
    errors: list[dict[str, Any]] = field(default_factory=list)
    #: How many of its requests are done.
    done: int = 0
    #: Its output file and its error file, once there are any.
    file_ids: dict[str, str] = field(default_factory=dict)

    def settle(self, now: float) -> None:
        """Let the time pass, and the work with it.

        :param now: seconds since the epoch.
        """
        self.script.settle(now)
        if self.status == "in_progress":
            self.done = int(self.total * self.script.share("in_progress", now))
        elif self.status in ("finalizing", "completed"):
            self.done = self.total
        elif self.status == "expired":
            self.done = int(self.total * self.partial)


def batch_object(batch: Batch, files: Files) -> dict[str, Any]:
    """Show a batch as it stood at the last look; one that has ended has its files from then on.

    :param files: where its files go.
    """
    status = batch.status
    failed = batch.output.failed(batch.done)
    errors = batch.errors or [
        {
            "code": "server_error",
            "message": "The mock server was told to fail this batch.",
            "param": None,
            "line": None,
        }
    ]
    if status in ("completed", "expired", "cancelled") and not batch.file_ids:
        batch.file_ids = _store_files(batch, files, failed)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": errors} if status == "failed" else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": status,
        "output_file_id": batch.file_ids.get("output"),
        "error_file_id": batch.file_ids.get("error"),
        "created_at": batch.created_at,
        "expires_at": batch.created_at + _WINDOW,
        **{f"{moment}_at": batch.reached_at(moment) for moment in _MOMENTS},
        "request_counts": {"total": batch.total, "completed": batch.done - failed, "failed": failed},
        "metadata": batch.metadata,
        **batch.fields,
    }


def _store_files(batch: Batch, files: Files, failed: int) -> dict[str, str]:
    done, expired = batch.done, batch.status == "expired"
    stored: dict[str, str] = {}
    if done > failed:
        made = files.store(
            lambda: Spool.filled(batch.output.lines(done)),
            filename=f"{batch.id}_output.jsonl",
            purpose="batch_output",
        )
        stored["output"] = made.id
    if failed or (expired and done < batch.total):
        made = files.store(
            lambda: Spool.filled(batch.output.error_lines(done, expired=expired)),
            filename=f"{batch.id}_error.jsonl",
            purpose="batch_output",
        )
        stored["error"] = made.id
    return stored
