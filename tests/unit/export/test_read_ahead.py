from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_portkey.export.read_ahead import read_ahead

SOME = contextvars.ContextVar[str]("some")


class Rows:
    """A list of rows that notes how far it was read, and by which threads."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.read = 0
        self.readers: set[str] = set()
        self.reached = [threading.Event() for _ in range(count + 1)]
        self._count = count
        self._fails_at = fails_at

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            if number == self._fails_at:
                raise ValueError("broken page")
            self.readers.add(threading.current_thread().name)
            self.read += 1
            self.reached[self.read].set()
            yield {"id": number}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "portkey-export" in thread.name]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 250, 1_000])
def test_every_row_comes_once_in_order(count: int) -> None:
    with read_ahead(iter(Rows(count))) as pages:
        found = list(pages)

    assert [row["id"] for page in found for row in page] == list(range(count))
    assert all(len(page) == 100 for page in found[:-1])
    assert threads() == []


@pytest.mark.parametrize("count", [0, 1, 99])
def test_a_list_of_one_page_needs_no_thread(count: int) -> None:
    rows = Rows(count)

    with read_ahead(iter(rows)) as pages:
        for _ in pages:
            assert threads() == []

    assert rows.readers <= {threading.current_thread().name}


def test_the_next_page_is_read_while_one_is_written_and_no_more() -> None:
    rows = Rows(1_000)

    with read_ahead(iter(rows)) as pages:
        for number, _ in enumerate(pages, 1):
            ahead = min(100 * number + 100, 1_000)
            assert rows.reached[ahead].wait(60)
            assert rows.read == ahead


def test_an_error_is_raised_when_the_turn_of_its_page_has_come() -> None:
    rows, written = Rows(500, fails_at=250), []

    with pytest.raises(ValueError, match="broken page"), read_ahead(iter(rows)) as pages:
        for page in pages:
            written += page

    assert [row["id"] for row in written] == list(range(200))
    assert threads() == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_of_the_writer_no_thread_is_left(error: type[BaseException]) -> None:
    rows = Rows(1_000)

    with pytest.raises(error), read_ahead(iter(rows)) as pages:
        next(pages)
        raise error

    assert threads() == []
    assert rows.read <= 200


def test_the_thread_has_the_context_of_its_export() -> None:
    SOME.set("mine")

    def rows() -> Iterator[dict[str, Any]]:
        for _ in range(250):
            yield {"context": SOME.get()}

    with read_ahead(rows()) as pages:
        assert {row["context"] for page in pages for row in page} == {"mine"}
