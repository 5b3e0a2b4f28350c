"""The parameters of the batch export; ``batch/test_export.py`` has its work."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator


def operator(**arguments: Any) -> PortkeyBatchOutputToObjectStorageOperator:
    given = {"task_id": "output", "batch_id": "batch_1", "path": "out.jsonl", **arguments}
    return PortkeyBatchOutputToObjectStorageOperator(**given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "s3"},
        {"max_failure_ratio": 1.1},
        {"max_failure_ratio": -1},
        {"max_failure_ratio": True},
        {"reconcile": "perhaps"},
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(wrong: dict[str, Any]) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{next(iter(wrong))}="):
        operator(**wrong)


def test_a_template_is_not_refused_when_the_dag_is_parsed() -> None:
    assert operator(max_failure_ratio="{{ params.ratio }}").max_failure_ratio == "{{ params.ratio }}"


def test_any_failure_fails_the_task_by_default() -> None:
    assert operator().max_failure_ratio == 0


def test_what_may_differ_between_runs_is_templated() -> None:
    own = {"batch_id", "error_path", "input_path", "reconcile", "source", "max_failure_ratio"}
    fields = PortkeyBatchOutputToObjectStorageOperator.template_fields
    assert set(fields) >= own | {"portkey_conn_id", "object_storage_conn_id", "path"}
    assert len(fields) == len(set(fields))
