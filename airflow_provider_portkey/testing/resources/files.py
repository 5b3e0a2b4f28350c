"""Files: uploads, and the input and output of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.paging import Items, PageQuery
from airflow_provider_portkey.testing.store import Store

PURPOSES = frozenset({"assistants", "batch", "evals", "fine-tune", "user_data", "vision"})


@dataclass
class StoredFile:
    """
    One file.

    :param write: writes the file on disk; called once, when its content or its size is first needed.
    """

    id: str
    created_at: int
    filename: str
    purpose: str
    write: Callable[[], Path]

    @cached_property
    def path(self) -> Path:
        """The file on disk."""
        return self.write()

    def serialize(self) -> dict[str, Any]:
        """Return the file's object."""
        shown = {"id": self.id, "object": "file", "created_at": self.created_at, "filename": self.filename}
        shown |= {"purpose": self.purpose, "bytes": self.path.stat().st_size, "status": "processed"}
        return {**shown, "status_details": None, "expires_at": None}


class Files:
    """
    All files.

    :param store: shared with the other resources.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: Items[StoredFile] = Items()

    def add(
        self,
        content: str | Iterable[str],
        *,
        file_id: str | None = None,
        filename: str = "mock-server.jsonl",
        purpose: str = "batch",
    ) -> dict[str, Any]:
        """
        Add a file.

        :param content: one string, or the lines without their line breaks.
        :param file_id: ``file_000001`` and so on where not given.
        :return: the file's object.
        :raises ValueError: for an id that is taken.
        """
        strings = [content] if isinstance(content, str) else [f"{line}\n" for line in content]
        return self.keep(lambda: map(str.encode, strings), filename, purpose, file_id=file_id).serialize()

    def keep(
        self, content: Callable[[], Iterable[bytes]], filename: str, purpose: str, *, file_id: str | None = None
    ) -> StoredFile:
        """
        Add a file.

        :param content: returns the content, in chunks of any size.
        """
        with self._store.lock:
            file_id = file_id or self._store.new_id("file", self._files)
            created_at, write = int(self._store.clock()), lambda: self._store.write_file(content())
            return self._files.add(StoredFile(file_id, created_at, filename, purpose, write))

    def get(self, file_id: str) -> StoredFile | None:
        """Find a file."""
        return self._files.get(file_id)

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        yield "POST", "/files", self._upload
        yield "GET", "/files", self._list
        yield "GET", "/files/{file_id}", lambda request: self._find(request).serialize()
        yield "GET", "/files/{file_id}/content", self._content

    def _upload(self, request: ApiRequest) -> dict[str, Any]:
        upload, purpose = request.form.get("file"), request.form.get("purpose")
        if not isinstance(upload, UploadFile):
            raise bad_request("'file' has to be a file of the form.", param="file")
        if purpose not in PURPOSES:
            raise bad_request(f"'purpose' has to be one of {sorted(PURPOSES)}.", param="purpose")
        return self.keep(lambda: upload.file, upload.filename or "", str(purpose)).serialize()

    def _list(self, request: ApiRequest) -> dict[str, Any]:
        query = PageQuery.parse(request.query, names=("after", "limit", "order"))
        return self._files.list_page(query, StoredFile.serialize)

    def _content(self, request: ApiRequest) -> Response:
        return FileResponse(self._find(request).path, media_type="application/octet-stream")

    def _find(self, request: ApiRequest) -> StoredFile:
        return self._files.find("file", request.ids["file_id"])
