from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.state import asset
from airflow_provider_portkey.state.asset import AssetState, TaskAssetState
from airflow_provider_portkey.testing import AssetStateStore, AssetStateStores

LOG = logging.getLogger("tests.portkey.asset_state")


class Counter:
    """A state that counts."""

    def __init__(self) -> None:
        self.at = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def restore(self, state: object) -> None:
        if not isinstance(state, dict) or state.get("at", -1) < 0:
            raise ValueError("no state")
        self.at = state["at"]


class BlockingStore:
    """The accessor of one asset in Airflow 3.3.0 and 3.3.1."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def get(self, key: str) -> Any:
        return self.value

    def set(self, key: str, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize("store", [AssetStateStore, BlockingStore])
def test_a_state_is_saved_and_restored(store: Callable[..., Any]) -> None:
    accessor, first, second = store(), Counter(), Counter()
    first.at = 7
    asyncio.run(AssetState(first, accessor, "key", LOG).save())
    asyncio.run(AssetState(second, accessor, "key", LOG).restore())

    assert second.at == 7


def test_a_state_that_has_not_changed_is_saved_once() -> None:
    accessor, counter = AssetStateStore(), Counter()
    state = AssetState(counter, accessor, "key", LOG)

    async def save_three_times() -> None:
        await state.save()
        await state.save()
        counter.at = 1
        await state.save()

    asyncio.run(save_three_times())
    assert len(accessor.writes) == 2


def test_of_several_assets_the_latest_state_counts_and_all_are_written() -> None:
    stores = [AssetStateStore({"key": {"at": 5}}), AssetStateStore({"key": {"at": 9}}), AssetStateStore()]
    accessors = SimpleNamespace(_by_name={"a": stores[0], "b": stores[1]}, _by_uri={"c": stores[2]})
    counter = Counter()
    state = AssetState(counter, accessors, "key", LOG)

    asyncio.run(state.restore())
    assert counter.at == 9
    counter.at = 10
    asyncio.run(state.save())
    assert [store.values["key"] for store in stores] == [{"at": 10}] * 3


def test_an_invalid_state_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter()
    with caplog.at_level(logging.WARNING, logger=LOG.name):
        asyncio.run(AssetState(counter, AssetStateStore({"key": {"at": -1}}), "key", LOG).restore())

    assert counter.at == 0
    assert "is not valid (no state)" in caplog.text


def test_before_airflow_3_3_nothing_is_kept() -> None:
    state = AssetState(Counter(), None, "key", LOG)
    asyncio.run(state.restore())
    asyncio.run(state.save())

    assert not state.has_store


def test_an_earlier_state_is_saved_while_the_triggerer_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(AssetStateStore):
        """A store whose responses do not come any more."""

        async def aset(self, key: str, value: Any) -> None:
            await super().aset(key, value)
            await asyncio.Event().wait()

    monkeypatch.setattr(asset, "_TAKE_BACK_TIMEOUT", 0.01)
    store = Silent({"key": {"at": 9}})
    asyncio.run(AssetState(Counter(), store, "key", LOG).take_back({"at": 5}))

    assert store.values == {"key": {"at": 5}}


class DictStore:
    """A fallback in memory."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}

    def read(self, key: str) -> dict[str, Any] | None:
        return self.values.get(key)

    def write(self, key: str, value: dict[str, Any]) -> None:
        self.values[key] = value

    def remove(self, key: str) -> None:
        self.values.pop(key, None)


def task_state(store: Any, fallback: DictStore) -> TaskAssetState:
    context: Any = {} if store is None else {"asset_state_store": store}
    return TaskAssetState(context, prefix="portkey", fallback=fallback)


def test_objects_are_in_the_store_of_the_tasks_asset() -> None:
    store, fallback = AssetStateStore(), DictStore()
    state = task_state(store, fallback)
    state.write("a", {"n": 1})

    assert (state.read("a"), state.read("b")) == ({"n": 1}, None)
    assert (list(store.values), fallback.values) == (["portkey/a"], {})


def test_objects_of_the_fallback_are_read_where_the_store_has_none() -> None:
    store, fallback = AssetStateStore(), DictStore()
    fallback.write("a", {"n": 1})
    state = task_state(store, fallback)

    assert state.read("a") == {"n": 1}
    state.write("a", {"n": 2})
    assert (state.read("a"), fallback.values) == ({"n": 2}, {"a": {"n": 1}})


@pytest.mark.parametrize("store", [None, AssetStateStores(a=AssetStateStore(), b=AssetStateStore())])
def test_without_a_store_of_one_asset_the_fallback_is_used(store: Any) -> None:
    fallback = DictStore()
    state = task_state(store, fallback)
    state.write("a", {"n": 1})

    assert (state.read("a"), state.read("b")) == ({"n": 1}, None)
    assert fallback.values == {"a": {"n": 1}}
