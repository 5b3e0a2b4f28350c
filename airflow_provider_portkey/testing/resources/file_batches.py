"""File batches of vector stores: a kind of job that users declare themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.scenario import CountedJob
from airflow_provider_portkey.testing.timeline import default_statuses


@dataclass(kw_only=True)
class FileBatch(CountedJob):
    """
    A file batch; further parameters are those of :class:`.Job`.

    :param batch_id: ``vsfb_000001`` and so on where not given.
    :param files: the number of files.
    :param failed: the number of files that fail, after all others.
    """

    vector_store_id: str
    batch_id: str | None = None
    files: int = 3
    failed: int = 0

    processed_statuses = frozenset({"completed", "failed"})


class FileBatches(JobResource[FileBatch]):
    """All file batches."""

    job_class = FileBatch
    name = "file_batches"
    kind = "file batch"
    path = "/vector_stores/{vector_store_id}/file_batches/{batch_id}"
    id_prefix = "vsfb"
    not_cancellable = frozenset({"completed", "failed", "cancelled"})

    def prepare(self, job: FileBatch) -> None:
        job.total = job.files

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "POST", self.list_path, self._create

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        file_ids = request.body.get("file_ids")
        if not isinstance(file_ids, list) or not file_ids:
            raise bad_request("'file_ids' has to be a list of files.", param="file_ids")
        statuses = default_statuses(self.store.job_seconds)
        return self.serialize(self.create({}, files=len(file_ids), statuses=statuses, **request.ids))

    def serialize(self, job: FileBatch) -> dict[str, Any]:
        failed = max(job.done - (job.total - job.failed), 0)
        waiting = "cancelled" if job.status == "cancelled" else "in_progress"
        counts = {"in_progress": 0, "completed": job.done - failed, "failed": failed, "cancelled": 0}
        return {
            "id": job.id,
            "object": "vector_store.file_batch",
            "created_at": job.created,
            "vector_store_id": job.vector_store_id,
            "status": job.status,
            "file_counts": {**counts, waiting: job.total - job.done, "total": job.total},
            **job.fields,
        }
