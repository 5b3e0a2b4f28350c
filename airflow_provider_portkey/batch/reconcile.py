"""The outcomes of a batch's requests, counted and matched with the requests of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_portkey.batch.index import RequestIndex
from airflow_provider_portkey.batch.outcomes import is_failure, request_id_of, usage_of
from airflow_provider_portkey.exceptions import PortkeyLineInvalidError
from airflow_provider_portkey.jobs.usage import UsageSum


class BatchReconciler:
    """
    Counts outcomes row by row; the ids are on the worker's disk, until :meth:`close`.

    :param requests: The lines of the batch's input; ``None`` to count without comparing.
    :param name: The name of the input in errors.
    :raises PortkeyLineInvalidError: for a request without a ``custom_id``.
    """

    def __init__(self, requests: Iterable[Mapping[str, Any]] | None, *, name: str = "The input") -> None:
        self._compares = requests is not None
        self.succeeded = 0
        self.failed = 0
        self.duplicate = 0
        self._unexpected = 0
        self._usage = UsageSum()
        self._index = RequestIndex()
        self._expected = self._index.add_all(_ids_of(requests or (), name))

    def close(self) -> None:
        """Delete the ids; the counts stay."""
        self._index.close()

    def add(self, outcome: Mapping[str, Any], *, error_file: bool = False) -> bool:
        """
        Count one outcome, and return whether to keep the outcome: only the first one of a request is kept.

        :param error_file: Whether the outcome is from the error file, where every outcome is a failure.
        """
        custom_id = outcome.get("custom_id")
        is_first = self._index.take(custom_id) if isinstance(custom_id, str) else None
        if is_first is False:
            self.duplicate += 1
            return False
        if self._compares and is_first is None:
            self._unexpected += 1
        elif error_file or is_failure(outcome):
            self.failed += 1
        else:
            self.succeeded += 1
        self._usage.add(usage_of(outcome))
        return True

    def counts(self) -> dict[str, Any]:
        """Return the counts of the manifest; ``None`` where there is no input to compare with."""
        outcomes = self.succeeded + self.failed
        return {
            "requests": self._expected if self._compares else outcomes,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "missing": self._expected - outcomes if self._compares else None,
            "duplicate": self.duplicate,
            "unexpected": self._unexpected if self._compares else None,
            "usage": self._usage.to_dict() or None,
        }


def _ids_of(requests: Iterable[Mapping[str, Any]], name: str) -> Iterator[str]:
    for number, request in enumerate(requests, 1):
        if (custom_id := request_id_of(request)) is None:
            raise PortkeyLineInvalidError(f"{name}: request {number} has no custom_id to find its outcome by.")
        yield custom_id
