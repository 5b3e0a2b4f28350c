"""What may go through XCom, and what is better off in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyXComTooLargeError


def check_max_bytes(max_bytes: int) -> None:
    """
    Check a limit.

    :raises PortkeyInvalidArgumentError: where it is none.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise PortkeyInvalidArgumentError("max_bytes", max_bytes, "a whole number of bytes, at least 1")


def fit_for_xcom(rows: Iterable[dict[str, Any]], *, max_bytes: int, what: str, instead: str) -> list[dict[str, Any]]:
    """
    Gather rows, as long as they are small.

    :param max_bytes: What they may have as JSON.
    :param what: What they are, for the error.
    :param instead: The operator to use where they are too large.
    :raises PortkeyXComTooLargeError: as soon as they are too large; the rest is not even fetched.
    """
    gathered: list[dict[str, Any]] = []
    size = 2
    for row in rows:
        size += len(json.dumps(row)) + (2 if gathered else 0)
        if size > max_bytes:
            raise PortkeyXComTooLargeError(
                f"The {what} have more than max_bytes={max_bytes} bytes as JSON (the first {len(gathered) + 1} of "
                f"them have {size}). Use {instead}, which writes them to a file and returns a manifest, or raise "
                "max_bytes if your XCom backend is made for it."
            )
        gathered.append(row)
    return gathered
