"""The calls of batches and of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.batch import BATCH, FILE
from airflow_provider_portkey.jobs.lists import BATCHES, FILES
from airflow_provider_portkey.parameters import MAX_LIMIT


class BatchesMixin(BasePortkeyHook):
    """One method for each call on a batch or on a file."""

    def create_batch(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a batch from an uploaded file and return it; retried as in :meth:`create_job`."""
        return self.create_job(BATCH, body)

    def get_batch(self, batch_id: str) -> dict[str, Any]:
        """Return one batch."""
        return self.get_job(BATCH, {"batch_id": batch_id})

    def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Cancel a batch and return it, usually with status ``cancelling``."""
        return self.cancel_job(BATCH, {"batch_id": batch_id})

    def iter_batches(
        self,
        *,
        page_size: int = MAX_LIMIT,
        after: str | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """Return an iterator over the batches, newest first: the list has no parameter ``order``."""
        return self.list(BATCHES, page_size=page_size, after=after, max_items=max_items, on_page=on_page)

    def upload_batch_file(self, file: BinaryIO, *, filename: str) -> dict[str, Any]:
        """
        Upload the input of a batch as a stream and return the file object; retried as in :meth:`create_job`.

        :param file: Open for reading, seekable.
        :param filename: The provider's name for the file.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        return self.get_conn().upload(FILES.path, {}, file, filename=filename, fields={"purpose": "batch"})

    def get_file(self, file_id: str) -> dict[str, Any]:
        """Return one file object: name, size and purpose."""
        return self.get_conn().get(FILE.path, {"file_id": file_id})

    def iter_batch_files(self, *, max_items: int | None = None) -> Iterator[Item]:
        """Return an iterator over the files that were uploaded for batches, newest first."""
        return self.list(FILES, order="desc", max_items=max_items, purpose="batch")

    def iter_file_content(self, file_id: str) -> Iterator[bytes]:
        """
        Return an iterator over a file's bytes in chunks; an interrupted download is resumed.

        :raises PortkeyInvalidArgumentError: at the call, for an invalid id.
        :raises PortkeyRequestError: while iterating, the subclass for the failure.
        """
        return self.get_conn().download(FILE.path + "/content", {"file_id": file_id})

    def iter_batch_output(self, batch_id: str) -> Iterator[bytes]:
        """
        Return an iterator over the output of a batch as Portkey itself composes it.

        The open-source gateway does not support this call; :meth:`iter_file_content` of the batch's
        ``output_file_id`` works everywhere.
        """
        return self.get_conn().download(BATCH.path + "/output", {"batch_id": batch_id})
