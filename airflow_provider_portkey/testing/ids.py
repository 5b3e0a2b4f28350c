"""Ids that nobody chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container


class Ids:
    """Counts the ids of each kind: ``run_000001``, ``run_000002`` ..."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def new(self, kind: str, taken: Container[str] = ()) -> str:
        """Give the next id of a kind that is not taken.

        :param kind: what the id begins with.
        """
        while True:
            self._counts[kind] += 1
            new_id = f"{kind}_{self._counts[kind]:06d}"
            if new_id not in taken:
                return new_id
