"""File batches of vector stores: a kind of job that users declare themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from airflow_provider_portkey.testing.app import ApiRequest
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.resources.jobs import Job


@dataclass(kw_only=True)
class FileBatch(Job):
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

    name = "file_batches"
    kind = "file batch"
    path = "/v1/vector_stores/{vector_store_id}/file_batches/{batch_id}"
    id_prefix = "vsfb"
    create_paths = ("/v1/vector_stores/{vector_store_id}/file_batches",)
    stages: ClassVar[Mapping[str, float]] = {"in_progress": 0, "completed": 1}
    final_statuses = frozenset({"completed", "failed", "cancelled"})
    processed_statuses = frozenset({"completed", "failed"})

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        file_ids = request.body.get("file_ids")
        if not isinstance(file_ids, list) or not file_ids:
            raise bad_request("'file_ids' has to be a list of files.", param="file_ids")
        return {"files": len(file_ids), **request.ids}

    def prepare(self) -> None:
        self.total = self.files

    def details(self) -> dict[str, Any]:
        failed = max(self.done - (self.total - self.failed), 0)
        waiting = "cancelled" if self.status == "cancelled" else "in_progress"
        counts = {"in_progress": 0, "completed": self.done - failed, "failed": failed, "cancelled": 0}
        counts |= {waiting: self.total - self.done, "total": self.total}
        return {"object": "vector_store.file_batch", "vector_store_id": self.vector_store_id, "file_counts": counts}
