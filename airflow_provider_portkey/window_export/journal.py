"""
The journal of a window: decisions as they are saved during the export, and which process may save them.

The record of a window is written whole when its export begins and when it ends. In between, decisions are saved in
*parts*, each an object that is written once and never changed, for object stores and state stores cannot append. So n
decisions cost n, whatever was saved before. A small object, the *claim*, names the process that exports the window now,
and all processes whose parts count. A part bears the name of its process: what a process writes after another one took
the window over replaces nothing.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyExportConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_portkey.state.asset import JsonStore

#: A decision as JSON has it.
Decision = dict[str, Any]


class Journal:
    """
    The decisions of a window that its record may not have yet.

    :param store: Where the records are.
    :param key: What the keys of the journal begin with.
    """

    def __init__(self, store: JsonStore, key: str) -> None:
        self._store = store
        self._key = key
        self._process = uuid.uuid4().hex
        #: The processes that had the window, in order, with the number of their parts.
        self._parts: dict[str, int] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there are no parts."""
        return not any(self._parts.values())

    def read(self) -> dict[str, Decision]:
        """
        Return all saved decisions by thread, the latest of each.

        :raises PortkeyExportConflictError: where the journal is not valid.
        """
        claim = self._read_claim()
        decisions: dict[str, Decision] = {}
        try:
            for process in map(str, claim.get("processes", [])):
                self._parts[process] = 0
                while (part := self._store.read(self._part_key(process, self._parts[process]))) is not None:
                    decisions |= part["decided"]
                    self._parts[process] += 1
        except (KeyError, TypeError, ValueError) as error:
            raise PortkeyExportConflictError(
                f"The journal {self._key!r} of an earlier export is not valid: {error!r}."
            ) from None
        return decisions

    def claim(self) -> dict[str, Decision]:
        """
        Take the window over from any other process, and return what that one saved.

        :raises PortkeyExportConflictError: where a third process does so at the same time.
        """
        processes = [*self._read_claim().get("processes", []), self._process]
        self._write_claim(self._process, processes)
        decisions = self.read()
        self.check()  # the process before may have ended meanwhile, and removed its parts
        return decisions

    def check(self) -> None:
        """
        Check that the window is this process's.

        :raises PortkeyExportConflictError: where another process took it over.
        """
        if self._read_claim().get("process") != self._process:
            raise PortkeyExportConflictError(
                "Another process has begun to export this window to the same path. This process stops; nothing has to "
                "be undone."
            )

    def add(self, decisions: Mapping[str, Decision]) -> None:
        """
        Save decisions of this process, by thread.

        :raises PortkeyExportConflictError: where another process took the window over.
        """
        self.check()
        number = self._parts[self._process]
        self._store.write(self._part_key(self._process, number), {"decided": dict(decisions), "schema_version": 1})
        self._parts[self._process] = number + 1

    def remove(self) -> None:
        """
        Remove the journal, of which the record has everything.

        A kill in between leaves the end of the journal: decisions that the record has, too.
        """
        self._write_claim(None, list(self._parts))
        for process, count in self._parts.items():
            last = count
            while self._store.read(self._part_key(process, last)) is not None:  # saved as the window was taken over
                last += 1
            for number in reversed(range(last)):
                self._store.remove(self._part_key(process, number))
        self._store.remove(self._claim_key)

    @property
    def _claim_key(self) -> str:
        return f"{self._key}.claim.json"

    def _part_key(self, process: str, number: int) -> str:
        return f"{self._key}.{process}.{number}.json"

    def _read_claim(self) -> dict[str, Any]:
        return self._store.read(self._claim_key) or {}

    def _write_claim(self, process: str | None, processes: list[str]) -> None:
        self._store.write(self._claim_key, {"process": process, "processes": processes, "schema_version": 1})
