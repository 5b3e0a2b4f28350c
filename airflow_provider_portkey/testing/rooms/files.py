"""Files: uploaded ones, and those that batches make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.content import Content
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import PageQuery, Shelf, as_page
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.spool import Spool

PURPOSES = frozenset({"assistants", "batch", "evals", "fine-tune", "user_data", "vision"})


@dataclass
class StoredFile:
    """One file.

    :param make: gives its bytes; called once, when somebody first asks for them.
    """

    id: str
    created_at: int
    filename: str
    purpose: str
    make: Callable[[], Spool]

    @cached_property
    def spool(self) -> Spool:
        """Its bytes."""
        return self.make()


class Files:
    """Every file there is, and the calls that upload and show them.

    :param desk: what it shares with the other rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._files: Shelf[StoredFile] = Shelf()

    def add(
        self,
        content: str | Iterable[str],
        *,
        file_id: str | None = None,
        filename: str = "mock server.jsonl",
        purpose: str = "batch",
    ) -> dict[str, Any]:
        """Put a file there.

        :param content: its text, or its lines without their ends.
        :param file_id: ``file_000001`` and so on where not given.
        :return: the file's object.
        :raises ValueError: for an id that is taken already.
        """
        texts = [content] if isinstance(content, str) else (f"{line}\n" for line in content)
        spool = Spool.filled(text.encode() for text in texts)
        return file_object(self.store(lambda: spool, file_id=file_id, filename=filename, purpose=purpose))

    def store(
        self, make: Callable[[], Spool], *, filename: str, purpose: str, file_id: str | None = None
    ) -> StoredFile:
        """Keep a file whose bytes may be made later; the parameters are those of :class:`StoredFile`."""
        with self._desk.lock:
            file_id = file_id or self._desk.ids.new("file", self._files)
            if file_id in self._files:
                raise ValueError(f"The id '{file_id}' is taken already")
            stored = StoredFile(file_id, int(self._desk.clock()), filename, purpose, make)
            return self._files.add(stored)

    def get(self, file_id: str) -> StoredFile | None:
        """Find a file by its id."""
        return self._files.get(file_id)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        yield "POST", "/files", self._upload
        yield "GET", "/files", self._list
        yield "GET", "/files/{file}", self._get
        yield "GET", "/files/{file}/content", self._content

    def _upload(self, call: Call) -> dict[str, Any]:
        upload = call.form.file("file")
        purpose = call.form.fields.get("purpose", "")
        if purpose not in PURPOSES:
            raise bad_request(f"'purpose' has to be one of {sorted(PURPOSES)}.", param="purpose")
        return file_object(self.store(lambda: upload.spool, filename=upload.filename, purpose=purpose))

    def _list(self, call: Call) -> dict[str, Any]:
        query = {name: call.query[name] for name in ("after", "limit", "order") if name in call.query}
        files, has_more = self._files.page(PageQuery.parse(query))
        return as_page([file_object(stored) for stored in files], has_more)

    def _get(self, call: Call) -> dict[str, Any]:
        return file_object(self._find(call))

    def _content(self, call: Call) -> Content:
        return Content(self._find(call).spool)

    def _find(self, call: Call) -> StoredFile:
        stored = self.get(call.ids["file"])
        if stored is None:
            raise not_found("file", call.ids["file"])
        return stored


def file_object(stored: StoredFile) -> dict[str, Any]:
    """Show a file."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.spool.size,
        "created_at": stored.created_at,
        "expires_at": None,
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
    }
