"""Whole runs between their list and their file, on the worker's disk: a window may have very many runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from tempfile import SpooledTemporaryFile
from typing import Any

#: Bytes of a thread's runs that stay in memory: some twenty runs. An export holds the runs of at most
#: 3 * ``max_concurrent_requests`` threads at once.
_MAX_IN_MEMORY = 64 * 1024


class RunBuffer:
    """
    The runs of one thread, by their ids.

    The temporary file has no name, and disappears with the process.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_MAX_IN_MEMORY)  # noqa: SIM115  closed by close()
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, run: Mapping[str, Any]) -> None:
        """Add a run as Portkey sent it, in place of an earlier one with its id."""
        line = json.dumps(run).encode()
        self._file.seek(0, 2)
        self._places[str(run["id"])] = self._file.tell(), len(line)
        self._file.write(line)

    def read(self, run_id: str) -> dict[str, Any]:
        """Return a run that was added."""
        start, size = self._places[run_id]
        self._file.seek(start)
        run: dict[str, Any] = json.loads(self._file.read(size))
        return run

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
