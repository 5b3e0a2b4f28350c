"""The calls of batches and of the files that they read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from airflow_provider_portkey.client.pagination import MAX_LIMIT, Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.batch import BATCH

_FILES = "/files"
_FILE = _FILES + "/{file_id}"


class BatchesMixin(BasePortkeyHook):
    """One method for each call on a batch or on a file."""

    def create_batch(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a batch of an uploaded file and return it; sent again only where it was surely not carried out."""
        return self.create_job(BATCH, body)

    def get_batch(self, batch_id: str) -> dict[str, Any]:
        """Return one batch."""
        return self.get_job(BATCH, {"batch_id": batch_id})

    def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Ask for a batch to be cancelled and return it, as a rule with status ``cancelling``."""
        return self.cancel_job(BATCH, {"batch_id": batch_id})

    def iter_batches(
        self,
        *,
        page_size: int = MAX_LIMIT,
        after: str | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """Return an iterator over the batches, the latest first: the list takes no order."""
        return self.iter_list(
            "/batches", {}, page_size=page_size, ordered=False, after=after, max_items=max_items, on_page=on_page
        )

    def upload_batch_file(self, file: BinaryIO, *, filename: str) -> dict[str, Any]:
        """
        Upload the input of a batch as a stream and return the file's object.

        It is sent again only where it was surely not carried out.

        :param file: Open for reading, seekable.
        :param filename: What the provider calls it.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self.get_conn().upload(_FILES, {}, file, filename=filename, fields={"purpose": "batch"})

    def get_file(self, file_id: str) -> dict[str, Any]:
        """Return one file's object: its name, size and purpose."""
        return self.get_conn().get(_FILE, {"file_id": file_id})

    def iter_batch_files(self, *, max_items: int | None = None) -> Iterator[Item]:
        """Return an iterator over the files that were uploaded for batches, the latest first."""
        return self.iter_list(_FILES, {}, max_items=max_items, query=[("purpose", "batch")])

    def iter_file_content(self, file_id: str) -> Iterator[bytes]:
        """
        Return an iterator over a file's bytes, piece by piece; what was cut is resumed.

        :raises PortkeyInvalidArgumentError: at the call, for a bad id.
        :raises PortkeyRequestError: while iterating, its subclass that fits what happened.
        """
        return self.get_conn().download(_FILE + "/content", {"file_id": file_id})

    def iter_batch_output(self, batch_id: str) -> Iterator[bytes]:
        """
        Return an iterator over the output of a batch, as Portkey itself puts it together.

        The open-source gateway cannot carry this call; :meth:`iter_file_content` of the batch's
        ``output_file_id`` works everywhere.
        """
        return self.get_conn().download(BATCH.path + "/output", {"batch_id": batch_id})
