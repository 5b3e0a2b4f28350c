from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.state.task import WAIT_KEY, TaskState
from airflow_provider_portkey.testing import TaskStateStore

TI = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=-1, max_tries=2, try_number=1)


def test_the_task_state_store_comes_first(variables: dict[str, str]) -> None:
    store = TaskStateStore()
    state = TaskState({"ti": TI, "task_state_store": store})  # type: ignore[typeddict-item, typeddict-unknown-key]

    assert state.read() == {}
    state.write({"id": "run_1"})
    state.clear()

    assert state.read() == {"id": "run_1"}
    assert list(store.values) == ["portkey_job"]
    assert variables == {}


def test_without_a_store_a_variable_has_the_state_until_it_is_cleared(variables: dict[str, str]) -> None:
    state = TaskState({"ti": TI})  # type: ignore[typeddict-item]

    assert state.read() == {}
    state.write({"id": "run_1"})
    assert (state.read(), list(variables)) == ({"id": "run_1"}, ["portkey_job__dag__task__run__-1"])

    state.clear()
    assert (state.read(), variables) == ({}, {})


def test_each_map_index_and_each_key_has_its_own_variable(variables: dict[str, str]) -> None:
    for index in (0, 1):
        context: Any = {"ti": SimpleNamespace(**{**vars(TI), "map_index": index})}
        TaskState(context).write({"index": index})
        TaskState(context, WAIT_KEY).write({"wait": index})

    assert sorted(variables.values()) == ['{"index": 0}', '{"index": 1}', '{"wait": 0}', '{"wait": 1}']


def test_without_a_task_instance_nothing_is_kept(variables: dict[str, str]) -> None:
    state = TaskState({})
    state.write({"id": "run_1"})
    state.clear()

    assert (state.read(), state.clear_count, state.try_number, variables) == ({}, None, None, {})


def test_the_state_is_read_once() -> None:
    store = TaskStateStore({"portkey_job": {"id": "run_1"}})
    state = TaskState({"ti": TI, "task_state_store": store})  # type: ignore[typeddict-item, typeddict-unknown-key]
    state.read()["id"] = "changed"
    store.failing_reads = 1
    assert state.read() == {"id": "run_1"}
    state.write({"id": "run_2"})
    assert state.read() == {"id": "run_2"}


def test_a_write_that_failed_is_not_what_was_written_last() -> None:
    store = TaskStateStore()
    state = TaskState({"ti": TI, "task_state_store": store})  # type: ignore[typeddict-item, typeddict-unknown-key]
    state.write({"id": "run_1"})
    store.failing_writes = 1
    with pytest.raises(RuntimeError):
        state.write({"id": "run_2"})
    assert state.read() == {"id": "run_1"}


def test_counts_are_those_of_the_task_instance() -> None:
    state = TaskState({"ti": TI})  # type: ignore[typeddict-item]

    assert (state.clear_count, state.try_number) == (2, 1)


def test_whether_airflow_has_a_store() -> None:
    assert TaskState({"ti": TI, "task_state_store": TaskStateStore()}).has_store  # type: ignore[typeddict-item, typeddict-unknown-key]
    assert not TaskState({"ti": TI}).has_store  # type: ignore[typeddict-item]
