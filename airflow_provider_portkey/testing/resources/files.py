"""Files: uploads, and the input and output of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.responses import FileResponse

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.store import Items, Store

PURPOSES = frozenset({"assistants", "batch", "evals", "fine-tune", "user_data", "vision"})


class Files:
    """All files."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: Items[dict[str, Any]] = Items()
        self._paths: dict[str, Path] = {}

    def __contains__(self, file_id: object) -> bool:
        return file_id in self._files

    def add(
        self,
        content: str | Iterable[str | bytes],
        *,
        file_id: str | None = None,
        filename: str = "mock-server.jsonl",
        purpose: str = "batch",
    ) -> dict[str, Any]:
        """
        Add a file.

        :param content: one string, or the lines without their line breaks; or its bytes in chunks of any size.
        :param file_id: ``file_000001`` and so on where not given.
        :return: the file's object.
        :raises ValueError: for an id that is taken.
        """
        with self._store.lock:
            file_id = file_id or self._store.new_id("file", self._files)
            self._files.check_new(file_id)
            chunks = [content.encode()] if isinstance(content, str) else map(_to_bytes, content)
            path = self._paths[file_id] = self._store.write_file(chunks)
            shown = {"id": file_id, "object": "file", "created_at": int(self._store.clock()), "filename": filename}
            shown |= {"purpose": purpose, "bytes": path.stat().st_size, "status": "processed", "expires_at": None}
            return self._files.add(file_id, shown)

    def path(self, file_id: str) -> Path:
        """Return the path of a file on disk, or raise a 404."""
        return self._paths[self._files.find("file", file_id)["id"]]

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        yield "POST", "/v1/files", self._upload
        yield "GET", "/v1/files", lambda request: self._files.page(request.query, dict)
        yield "GET", "/v1/files/{file_id}", lambda request: self._files.find("file", request.ids["file_id"])
        yield "GET", "/v1/files/{file_id}/content", self._content

    def _upload(self, request: ApiRequest) -> dict[str, Any]:
        upload, purpose = request.form.get("file"), request.form.get("purpose")
        if not isinstance(upload, UploadFile):
            raise bad_request("'file' has to be a file of the form.", param="file")
        if purpose not in PURPOSES:
            raise bad_request(f"'purpose' has to be one of {sorted(PURPOSES)}.", param="purpose")
        return self.add(upload.file, filename=upload.filename or "", purpose=str(purpose))

    def _content(self, request: ApiRequest) -> FileResponse:
        return FileResponse(self.path(request.ids["file_id"]), media_type="application/octet-stream")


def _to_bytes(chunk: str | bytes) -> bytes:
    return chunk if isinstance(chunk, bytes) else f"{chunk}\n".encode()
