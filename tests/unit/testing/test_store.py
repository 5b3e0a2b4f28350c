from __future__ import annotations

import pytest

from airflow_provider_portkey.testing import Clock
from airflow_provider_portkey.testing.store import Store


@pytest.fixture
def store() -> Store:
    return Store(clock=Clock())


def test_ids_are_counted_by_prefix_and_never_taken(store: Store) -> None:
    assert [store.new_id("run"), store.new_id("run", {"run_000002"}), store.new_id("step")] == [
        "run_000001",
        "run_000003",
        "step_000001",
    ]


def test_plans_are_taken_in_order_and_for_their_number_of_times(store: Store) -> None:
    store.plan("runs", times=2, statuses="failed")
    store.plan("runs", times=None, statuses="expired")
    store.plan("batches", count=1)
    statuses = [store.take_plan("runs").get("statuses") for _ in range(4)]
    assert statuses == ["failed", "failed", "expired", "expired"]
    assert [store.take_plan("batches") for _ in range(2)] == [{"count": 1}, {}]
    with pytest.raises(ValueError, match="kind"):
        store.plan("threads")


def test_files_exist_until_the_store_is_closed(store: Store) -> None:
    store.close()
    paths = [store.write_file([b"a\n", b"b"]) for _ in range(2)]
    assert [path.read_bytes() for path in paths] == [b"a\nb"] * 2
    store.close()
    assert not any(path.exists() for path in paths)
