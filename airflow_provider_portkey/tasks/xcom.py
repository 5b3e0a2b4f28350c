"""The size limit of rows in XCom, and the result of a task that fails."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyXComTooLargeError
from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


def fit_for_xcom(rows: Iterable[dict[str, Any]], *, max_bytes: int, what: str, instead: str) -> list[dict[str, Any]]:
    """
    Return rows as a list, as long as they are small, and as Airflow's database can store them.

    :param max_bytes: Maximum size of the rows as JSON.
    :param what: What the rows are, for the error.
    :param instead: The operator for larger rows, for the error.
    :raises PortkeyXComTooLargeError: at the first row beyond ``max_bytes``; no further row is read.
    """
    fitting: list[dict[str, Any]] = []
    size = 2
    for row in map(storable, rows):
        size += len(json.dumps(row)) + (2 if fitting else 0)
        if size > max_bytes:
            raise PortkeyXComTooLargeError(
                f"The {what} have more than max_bytes={max_bytes} bytes as JSON (the first {len(fitting) + 1} of "
                f"them have {size}). Use {instead}, which writes them to a file and returns a manifest, or raise "
                "max_bytes if your XCom backend is made for it."
            )
        fitting.append(row)
    return fitting


@contextmanager
def result_where_it_fails(context: Context, result: Mapping[str, Any]) -> Iterator[None]:
    """Push the result of a task whose last check fails: Airflow pushes what a task returns, and this task does not."""
    try:
        yield
    except Exception:
        if ti := context.get("ti"):
            ti.xcom_push(key="return_value", value=storable(result))
        raise
