from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.validation import iter_ids
from airflow_provider_portkey.window_export.thread_ids import ThreadIndex, read_id_file


def path_of(tmp_path: Path, content: bytes) -> ObjectStoragePath:
    (tmp_path / "ids.txt").write_bytes(content)
    return ObjectStoragePath(str(tmp_path / "ids.txt"))


@pytest.mark.parametrize("content", [b"a\nb\n", b"a\r\n\r\n  b", b"\xef\xbb\xbfa\n\n\nb\n"])
def test_a_file_has_an_id_a_line(tmp_path: Path, content: bytes) -> None:
    assert list(read_id_file(path_of(tmp_path, content))) == ["a", "b"]


@pytest.mark.parametrize("wrong", [b"..", b"\xff"])
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, wrong: bytes) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^thread_ids_path, line 3="):
        list(read_id_file(path_of(tmp_path, b"a\n\n" + wrong + b"\nb\n")))


class Endless(io.RawIOBase):
    """A file of a million lines, which counts what was read."""

    def __init__(self) -> None:
        self.lines = 0
        self.most = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        self.most = max(self.most, size)
        count = min(size // 20, 1_000_000 - self.lines)
        self.lines += count
        return b"".join(b"thread_%012d\n" % number for number in range(self.lines - count, self.lines))


def test_a_file_of_a_million_lines_is_read_as_a_stream() -> None:
    file = Endless()

    class Path:
        def open(self, mode: str) -> Endless:
            assert mode == "rb"
            return file

    ids: Iterator[str] = read_id_file(Path())  # type: ignore[arg-type]
    assert [next(ids) for _ in range(3)] == [f"thread_{number:012}" for number in range(3)]
    assert file.lines < 10_000
    assert sum(1 for _ in ids) == 1_000_000 - 3
    assert file.most <= 16 * 1024


def test_each_thread_is_there_once_and_sorted() -> None:
    with ThreadIndex() as index:
        index.add(f"thread_{number % 2_500:05}" for number in range(5_000))
        index.add(["", "a"][1:])

        assert len(index) == 2_501
        assert list(index.ids()) == ["a", *(f"thread_{number:05}" for number in range(2_500))]


def test_entries_are_set_while_the_threads_are_read() -> None:
    with ThreadIndex() as index:
        index.add(f"{number:05}" for number in range(3_000))
        for thread_id in index.ids():
            index.set_entry(f"{thread_id}.jsonl", {"thread_id": thread_id})

        assert sum(1 for _ in index.entries()) == 3_000


def test_a_file_is_known_by_its_kind_and_name() -> None:
    with ThreadIndex() as index:
        for _ in range(2):
            index.add_file("steps", "00001.jsonl")

        assert index.has_file("steps", "00001.jsonl")
        assert not index.has_file("steps", "00001.csv")
        assert not index.has_file("runs", "00001.jsonl")


def test_a_list_with_a_wrong_id_is_refused() -> None:
    with ThreadIndex() as index, pytest.raises(PortkeyInvalidArgumentError, match=r"^thread_ids\[1\]="):
        index.add(iter_ids("thread_ids", ["a", ".."]))
