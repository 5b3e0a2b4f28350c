"""Bytes that are too many to hold: uploads, and files that are read from anywhere."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator

#: Bytes that are moved at once: few enough to hold, enough that the calls do not count.
BLOCK = 1 << 16


class Spool:
    """A file on disk without a name: it is gone when nobody holds it any more, however that comes about."""

    def __init__(self) -> None:
        self._file, name = tempfile.mkstemp(prefix="portkey-mock server-")
        os.unlink(name)
        weakref.finalize(self, os.close, self._file)
        self.size = 0

    @classmethod
    def filled(cls, lines: Iterable[bytes]) -> Spool:
        """Make one of lines, each with its line end."""
        spool = cls()
        for block in as_blocks(lines):
            spool.write(block)
        return spool

    def write(self, data: bytes) -> None:
        """Put bytes at the end."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(data)

    def read(self, start: int, stop: int) -> bytes:
        """Read from one byte up to, and without, another."""
        return os.pread(self._file, stop - start, start)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Read block by block."""
        stop = self.size if stop is None else stop
        for place in range(start, stop, BLOCK):
            yield self.read(place, min(place + BLOCK, stop))


class Texts:
    """Many short texts, packed: each takes its own bytes and eight more."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._packed[start : self._ends[number]].decode("utf-8", "surrogatepass")

    def append(self, text: str) -> None:
        """Put a text at the end."""
        self._packed += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._packed))


def spooled_lines(spool: Spool) -> Iterator[bytes]:
    """Read a spool line by line, without the line ends and without empty lines."""
    rest = b""
    for block in spool.blocks():
        *lines, rest = (rest + block).split(b"\n")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def as_blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines into blocks, so that sending them costs little."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= BLOCK:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)
