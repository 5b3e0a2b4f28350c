"""The threads of an export: read from a file, checked before the first request, sorted, without duplicates."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.atomic import file_path
from airflow_provider_portkey.export.jsonl import split_lines
from airflow_provider_portkey.export.local_files import path_errors
from airflow_provider_portkey.json_values import strict_json
from airflow_provider_portkey.validation import iter_ids, validate_id

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Bytes of a file of ids that are read at once: some hundred lines.
_CHUNK_SIZE = 16 * 1024


def read_id_file(path: ObjectStoragePath, *, field: str = "thread_ids_path") -> Iterator[str]:
    """
    Yield the ids of a file with one id per line; blank lines are ignored.

    :raises PortkeyInvalidArgumentError: naming the first wrong line.
    """
    with path_errors(path, "read"), cast("Any", path).open("rb") as file:
        for number, line in enumerate(split_lines(iter(lambda: file.read(_CHUNK_SIZE), b"")), 1):
            where = f"{field}, line {number}"
            try:
                thread_id = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise PortkeyInvalidArgumentError(where, line[:50], "an id in UTF-8") from None
            if thread_id:
                yield validate_id(where, thread_id)


def iter_thread_ids(
    thread_ids: Iterable[str] | str | None, thread_ids_path: str | None, object_storage_conn_id: str | None
) -> Iterable[str]:
    """
    Return an iterable over the threads of an export's parameters, each checked as it is taken.

    :raises PortkeyInvalidArgumentError: naming the id, or the line, that is wrong.
    """
    if thread_ids_path is None:
        return iter_ids("thread_ids", thread_ids)
    return read_id_file(file_path(thread_ids_path, object_storage_conn_id, field="thread_ids_path"))


class ThreadIndex:
    """
    The threads of an export, their files, and an entry of the manifest for each, on disk: there may be a million.

    The database is a temporary file without a name, which disappears with the process.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE threads (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("CREATE TABLE entries (name TEXT PRIMARY KEY, entry TEXT) WITHOUT ROWID")
        self._database.execute("CREATE TABLE files (kind TEXT, name TEXT, PRIMARY KEY (kind, name)) WITHOUT ROWID")

    def __enter__(self) -> ThreadIndex:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._database.close()

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM threads").fetchone()[0])

    def add(self, thread_ids: Iterable[str]) -> None:
        """Add threads; duplicates are ignored."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO threads VALUES (?)", ((each,) for each in thread_ids))
        self._database.execute("COMMIT")

    def ids(self) -> Iterator[str]:
        """Yield each thread, sorted."""
        last: tuple[str] | None = ("",)
        while last:
            rows = self._database.execute("SELECT id FROM threads WHERE id > ? ORDER BY id LIMIT 1000", last).fetchall()
            yield from (row[0] for row in rows)
            last = rows[-1] if rows else None

    def set_entry(self, name: str, entry: Mapping[str, Any]) -> None:
        """Set the entry of a thread, under the name of its files."""
        text, _ = strict_json(entry)
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (name, text))

    def add_file(self, kind: str, name: str) -> None:
        """Add a file that is part of the export."""
        self._database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (kind, name))

    def has_file(self, kind: str, name: str) -> bool:
        """Return whether a file is part of the export."""
        found = self._database.execute("SELECT 1 FROM files WHERE kind = ? AND name = ?", (kind, name))
        return found.fetchone() is not None

    def entries(self) -> Iterator[str]:
        """Yield the entries as JSON, sorted by name."""
        for (entry,) in self._database.execute("SELECT entry FROM entries ORDER BY name"):
            yield entry
