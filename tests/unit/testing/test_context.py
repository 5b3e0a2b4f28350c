"""The task context and its stores."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_portkey.testing import AssetStateStore, AssetStateStores, Clock, TaskStateStore, fake_context


def test_a_context_has_a_task_instance_and_an_empty_store() -> None:
    context = fake_context(task_id="wait", map_index=3, try_number=2, max_tries=4, params={"a": 1})
    ti = context["ti"]
    assert (ti.dag_id, ti.task_id, ti.run_id, ti.map_index) == ("dag", "wait", "run", 3)
    assert (ti.try_number, ti.max_tries, context["params"]) == (2, 4, {"a": 1})
    assert ti.get_first_reschedule_date(context) is None
    assert context["task_reschedule_count"] == 0
    assert context["task_state_store"].values == {}
    assert "asset_state_store" not in context


def test_what_a_task_pushes_is_there_by_its_key() -> None:
    ti = fake_context()["ti"]
    ti.xcom_push(key="manifest", value={"rows": (1, 2)})
    assert ti.xcoms == {"manifest": {"rows": [1, 2]}}


def test_a_rescheduled_task_and_a_shared_store() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    store, assets = TaskStateStore(), AssetStateStore()
    contexts = [
        fake_context(first_reschedule=first, task_state_store=store, asset_state_store=assets) for _ in range(2)
    ]
    contexts[0]["task_state_store"].set("key", 1)
    assert contexts[1]["task_state_store"].get("key") == 1
    assert contexts[1]["asset_state_store"] is assets
    assert contexts[1]["ti"].get_first_reschedule_date(contexts[1]) == first
    assert contexts[1]["task_reschedule_count"] == 1


def test_what_a_store_returns_has_been_json() -> None:
    store = TaskStateStore({"start": [1]})
    value = {"ids": ("a", "b")}
    store.set("key", value)
    value["ids"] = ()
    store.get("key")["ids"].append("c")
    assert store.get("key") == {"ids": ["a", "b"]}
    assert store.writes == [("key", {"ids": ["a", "b"]})]
    assert store.values == {"start": [1], "key": {"ids": ["a", "b"]}}
    with pytest.raises(TypeError):
        store.set("key", datetime.now(tz=UTC))
    with pytest.raises(ValueError, match="None"):
        store.set("key", None)


def test_a_value_is_deleted_and_has_a_default() -> None:
    store = TaskStateStore({"a": 1, "b": 2})
    store.delete("a")
    store.delete("unknown")
    assert (store.get("a"), store.get("a", 5), store.values) == (None, 5, {"b": 2})
    store.clear()
    assert store.values == {}
    assert TaskStateStore(default={"at": 0}).get("any") == {"at": 0}


def test_a_file_holds_the_values_for_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert TaskStateStore(path=path).get("key") is None
    TaskStateStore(path=path).set("key", "value")
    other = TaskStateStore(path=path)
    assert other.get("key") == "value"
    other.clear()
    assert TaskStateStore(path=path).values == {}


def test_reads_and_writes_fail_as_often_as_declared() -> None:
    store = TaskStateStore({"key": 1})
    store.failing_reads, store.failing_writes = 1, 2
    with pytest.raises(RuntimeError, match="read"):
        store.get("key")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="write"):
            store.set("key", 2)
    assert (store.get("key"), store.writes) == (1, [])
    store.set("key", 2)
    assert store.get("key") == 2


def test_an_asset_store_has_asynchronous_methods() -> None:
    async def use(store: AssetStateStore) -> list[object]:
        await store.aset("key", [1])
        found = [await store.aget("key"), await store.aget("other", 7)]
        await store.adelete("key")
        return [*found, await store.aget("key")]

    assert asyncio.run(use(AssetStateStore())) == [[1], 7, None]
    assert not hasattr(TaskStateStore(), "aget"), "nor has Airflow's"


def test_of_several_assets_one_has_to_be_named() -> None:
    stores = AssetStateStores(a=AssetStateStore({"key": 1}), b=AssetStateStore())
    assert stores[SimpleNamespace(name="a")].get("key") == 1
    with pytest.raises(ValueError, match="2 concrete inlets and outlets"):
        stores.get("key")
    with pytest.raises(ValueError, match="2 concrete inlets and outlets"):
        stores.set("key", 1)
    with pytest.raises(ValueError, match="2 concrete inlets and outlets"):
        asyncio.run(stores.aset("key", 1))


def test_time_passes_only_in_a_test() -> None:
    clock = Clock(100.0)
    assert (clock(), clock.time(), clock.monotonic()) == (100.0, 100.0, 100.0)
    clock.sleep(5)
    asyncio.run(clock.async_sleep(2.5))
    clock.now += 1
    assert (clock(), clock.sleeps) == (108.5, [5, 2.5])
