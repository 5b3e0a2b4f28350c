"""What became of a batch's requests: each outcome taken once and held against what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_portkey.batch.input import digest
from airflow_provider_portkey.exceptions import PortkeyLineInvalidError

#: The fields of a line of an output or error file, for formats that have columns.
BATCH_OUTPUT_COLUMNS = {"id": "text", "custom_id": "text", "response": "json", "error": "json"}


class BatchReconciler:
    """
    Counts outcomes as they go by; in memory stay sixteen bytes of each ``custom_id``.

    :param requests: The lines of the batch's input; ``None`` to hold the outcomes against nothing.
    :param name: What an error calls the input.
    :raises PortkeyLineInvalidError: for a request without a ``custom_id``.
    """

    def __init__(self, requests: Iterable[Mapping[str, Any]] | None, *, name: str = "The input") -> None:
        self.reconciled = requests is not None
        self.succeeded = 0
        self.failed = 0
        self.duplicate = 0
        self._unexpected = 0
        self._usage: dict[str, Any] = {}
        #: Of each request, and of whatever else came, whether its outcome is there.
        self._seen: dict[bytes, bool] = {}
        for number, request in enumerate(requests or (), 1):
            if not isinstance(custom_id := request.get("custom_id"), str):
                raise PortkeyLineInvalidError(f"{name}: request {number} has no custom_id to find its outcome by.")
            self._seen[digest(custom_id)] = False
        self._asked = len(self._seen)

    def take(self, outcome: Mapping[str, Any], *, error_file: bool = False) -> bool:
        """
        Count one outcome, and return whether to keep it: of those of one request only the first.

        :param error_file: Whether it is from the error file, which makes it a failure whatever it says.
        """
        custom_id = outcome.get("custom_id")
        key = digest(custom_id) if isinstance(custom_id, str) else None
        known = None if key is None else self._seen.get(key)
        if known:
            self.duplicate += 1
            return False
        if key is not None:
            self._seen[key] = True
        if self.reconciled and known is None:
            self._unexpected += 1
        elif error_file or is_failure(outcome):
            self.failed += 1
        else:
            self.succeeded += 1
        response = outcome.get("response")
        body = response.get("body") if isinstance(response, Mapping) else None
        usage = body.get("usage") if isinstance(body, Mapping) else None
        if isinstance(usage, Mapping):
            _add(self._usage, usage)
        return True

    @property
    def missing(self) -> int | None:
        """Requests without an outcome."""
        return self._asked - self.succeeded - self.failed if self.reconciled else None

    @property
    def requests(self) -> int:
        """Requests of the batch; without an input to hold them against, those that have an outcome."""
        return self._asked if self.reconciled else self.succeeded + self.failed

    @property
    def failure_ratio(self) -> float:
        """The share of the requests that failed or are missing."""
        return (self.requests - self.succeeded) / self.requests if self.requests else 0.0

    def counts(self) -> dict[str, Any]:
        """Return what a manifest says of them; what was held against nothing is ``None``."""
        return {
            "requests": self.requests,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "missing": self.missing,
            "duplicate": self.duplicate,
            "unexpected": self._unexpected if self.reconciled else None,
            "usage": self._usage or None,
        }


def is_failure(outcome: Mapping[str, Any]) -> bool:
    """Return whether a line says that its request failed: an error, no response, or a status of 400 or more."""
    response = outcome.get("response")
    if outcome.get("error") or not isinstance(response, Mapping):
        return True
    status = response.get("status_code")
    return isinstance(status, int) and status >= 400


def _add(total: dict[str, Any], usage: Mapping[str, Any]) -> None:
    for name, value in usage.items():
        if isinstance(value, Mapping):
            if isinstance(nested := total.setdefault(name, {}), dict):
                _add(nested, value)
        elif isinstance(value, int) and not isinstance(value, bool) and isinstance(total.get(name, 0), int):
            total[name] = total.get(name, 0) + value
