"""Ids and outcomes of any number of requests, on the worker's disk: memory stays the same for a million of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

#: Kibibytes of a database that are in memory.
_CACHE_KIB = 8 * 1024
#: Rows that are inserted at once.
_INSERTED = 1_000
#: Bytes of a ``custom_id`` that is its own key; a longer one is replaced by a hash.
_KEY_BYTES = 64


def key_of(custom_id: str) -> bytes:
    """Return the bytes that stand for a ``custom_id``: its own, or a hash of a long one."""
    encoded = custom_id.encode("utf-8", "surrogatepass")
    return encoded if len(encoded) <= _KEY_BYTES else b"\0" + hashlib.blake2b(encoded, digest_size=32).digest()


class _Database:
    """A table in a file of the temporary folder (``TMPDIR``), which is unlinked: nothing is left after a kill."""

    _SCHEMA = ""
    _INSERT = ""
    _INDEX = ""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(self._SCHEMA)
        self._pending: list[tuple[object, ...]] = []
        self._indexed = False

    def close(self) -> None:
        self._database.close()

    def _add(self, *row: object) -> None:
        self._pending.append(row)
        if len(self._pending) >= _INSERTED:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._database.execute("BEGIN")
            self._database.executemany(self._INSERT, self._pending)
            self._database.execute("COMMIT")
            self._pending.clear()

    def _complete(self) -> None:
        """Insert what is pending, and index the rows, which sorts them once."""
        if not self._indexed or self._pending:
            self._flush()
            self._database.execute(self._INDEX)
            self._indexed = True


class IdIndex(_Database):
    """The ``custom_id`` of each request, to find those that are there twice."""

    _SCHEMA = "CREATE TABLE ids (id BLOB NOT NULL, number INTEGER NOT NULL)"
    _INSERT = "INSERT INTO ids VALUES (?, ?)"
    _INDEX = "CREATE INDEX IF NOT EXISTS by_id ON ids (id, number)"

    def add(self, custom_id: str, number: int) -> None:
        """Add a request with its number, which counts up."""
        self._add(key_of(custom_id), number)

    def duplicates(self) -> Iterator[tuple[int, int, str]]:
        """Yield each request with the id of an earlier one: its number, that of the first of them, and the id."""
        self._complete()
        found = self._database.execute(
            "SELECT ids.number, twice.first, ids.id FROM ids JOIN"
            " (SELECT id, min(number) AS first FROM ids GROUP BY id HAVING count(*) > 1) AS twice"
            " ON ids.id = twice.id AND ids.number > twice.first ORDER BY ids.number"
        )
        with closing(found):
            for number, first, key in found:
                yield number, first, key.decode("utf-8", "replace")


class RequestIndex(_Database):
    """The ``custom_id`` of each request and of each outcome, to find the first outcome of a request as it comes."""

    _SCHEMA = "CREATE TABLE requests (id BLOB PRIMARY KEY, outcomes INTEGER NOT NULL) WITHOUT ROWID"
    _INSERT = "INSERT OR IGNORE INTO requests VALUES (?, 0)"

    def add_all(self, custom_ids: Iterable[str]) -> int:
        """Add the requests, before the first outcome, and return how many different ones there are."""
        # One transaction, to the end: a commit for each outcome would cost more than the outcome.
        self._database.execute("BEGIN")
        return self._database.executemany(self._INSERT, ((key_of(custom_id),) for custom_id in custom_ids)).rowcount

    def take(self, custom_id: str) -> bool | None:
        """Return whether an outcome is the first one of a request; ``None`` for the first one without a request."""
        key, execute = (key_of(custom_id),), self._database.execute
        if execute("UPDATE requests SET outcomes = 1 WHERE id = ? AND outcomes = 0", key).rowcount:
            return True
        return None if execute("INSERT OR IGNORE INTO requests VALUES (?, 1)", key).rowcount else False


class OutcomeIndex(_Database):
    """
    Outcomes by the ``custom_id`` of their requests; of several, the one of the highest rank counts.

    All outcomes are added before the first is taken.
    """

    _SCHEMA = "CREATE TABLE outcomes (id BLOB NOT NULL, rank INTEGER NOT NULL, outcome TEXT NOT NULL)"
    _INSERT = "INSERT INTO outcomes VALUES (?, ?, ?)"
    _INDEX = "CREATE INDEX IF NOT EXISTS by_id ON outcomes (id, rank)"

    def __init__(self) -> None:
        super().__init__()
        self.added = 0

    def add(self, custom_id: str, rank: int, outcome: str) -> None:
        """Add an outcome, a string without halves of surrogate pairs."""
        self.added += 1
        self._add(key_of(custom_id), rank, outcome)

    def take(self, custom_id: str) -> str | None:
        """Return the outcome of a request, ``None`` where there is none."""
        self._complete()
        found = self._database.execute(
            "SELECT outcome FROM outcomes WHERE id = ? ORDER BY rank DESC LIMIT 1", (key_of(custom_id),)
        ).fetchone()
        return None if found is None else str(found[0])

    def distinct(self) -> int:
        """Return the number of requests that have an outcome."""
        self._complete()
        return int(self._database.execute("SELECT count(DISTINCT id) FROM outcomes").fetchone()[0])
