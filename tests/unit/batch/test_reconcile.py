"""Outcomes, counted and matched with the requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_portkey.batch.outcomes import is_failure
from airflow_provider_portkey.batch.reconcile import BatchReconciler
from airflow_provider_portkey.exceptions import PortkeyLineInvalidError


def outcome(custom_id: str, status: int = 200, **changes: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "response": {"status_code": status, "body": {}}, "error": None, **changes}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"error": {}}, False),
        ({"error": {"code": "x"}}, True),
        ({"response": None}, True),
        ({"response": "string"}, True),
        ({"response": {"status_code": 399, "body": {}}}, False),
        ({"response": {"status_code": 400, "body": {}}}, True),
        ({"response": {"status_code": 503, "body": "<html>"}}, True),
        ({"response": {"body": {}}}, False),
    ],
)
def test_what_a_failure_is(changes: dict[str, Any], failed: bool) -> None:
    line = outcome("a", **changes)
    reconciler = BatchReconciler([{"custom_id": "a"}])
    assert reconciler.add(line)
    assert (is_failure(line), reconciler.failed, reconciler.succeeded) == (failed, int(failed), int(not failed))


def test_a_line_of_the_error_file_is_a_failure_whatever_it_says() -> None:
    reconciler = BatchReconciler([{"custom_id": "a"}])
    reconciler.add(outcome("a", 200), error_file=True)
    assert reconciler.failed == 1


def test_odd_usage_breaks_nothing() -> None:
    reconciler = BatchReconciler(None)
    for usage in ({"n": 1, "d": {"m": 1}}, {"n": None, "d": 5}, {"n": {"x": 1}, "d": {"m": 2}}, {"n": True}, [], "x"):
        reconciler.add({"response": {"body": {"usage": usage}}})
    assert reconciler.counts()["usage"] == {"n": 1, "d": {"m": 3}}


def test_each_request_is_counted_once_and_unexpected_outcomes_apart() -> None:
    reconciler = BatchReconciler([{"custom_id": "a"}, {"custom_id": "b"}, {"custom_id": "c"}])
    kept = [reconciler.add(outcome(custom_id)) for custom_id in ("a", "x", "a", "x")]
    kept.append(reconciler.add(outcome("b", 500)))
    assert kept == [True, True, False, False, True]
    assert reconciler.counts() == {
        "requests": 3, "succeeded": 1, "failed": 1, "missing": 1, "duplicate": 2, "unexpected": 1, "usage": None,
    }  # fmt: skip


def test_without_requests_there_is_nothing_to_miss() -> None:
    reconciler = BatchReconciler(None)
    for one in (outcome("a"), outcome("a"), outcome("b", 500)):
        reconciler.add(one)
    counts = reconciler.counts()
    assert [counts[name] for name in ("requests", "duplicate", "missing", "unexpected")] == [2, 1, None, None]


def test_a_request_without_an_id_is_named() -> None:
    with pytest.raises(PortkeyLineInvalidError, match=r"^in\.jsonl: request 2 has no custom_id"):
        BatchReconciler([{"custom_id": "a"}, {"custom_id": 7}], name="in.jsonl")


def test_memory_does_not_grow_with_the_requests(peak: Callable[[Callable[[], Any]], int]) -> None:
    def reconcile(count: int) -> None:
        with closing(BatchReconciler({"custom_id": f"row-{number}"} for number in range(count))) as reconciler:
            for number in range(count):
                assert reconciler.add({"custom_id": f"row-{number}", "response": {"status_code": 200}})
            assert reconciler.counts()["succeeded"] == count

    reconcile(10)
    assert peak(lambda: reconcile(10_000)) < peak(lambda: reconcile(2_000)) + 50_000
