"""The metadata that says which task made a request."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.task_metadata import (
    metadata_header,
    shorten,
    task_metadata_of,
    with_task_metadata,
)

TASK = {"airflow_dag_id": "dag", "airflow_task_id": "task", "airflow_run_id": "run", "airflow_map_index": "-1"}


def task_instance(**changes: object) -> SimpleNamespace:
    return SimpleNamespace(**{"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": -1} | changes)


def test_a_task_instance_has_four_pairs() -> None:
    assert task_metadata_of(task_instance()) == TASK


@pytest.mark.parametrize("ti", [None, object(), SimpleNamespace(dag_id="dag")])
def test_anything_else_has_none(ti: object) -> None:
    assert task_metadata_of(ti) == {}


@pytest.mark.parametrize("length", [0, 1, 127, 128])
def test_a_value_within_the_limit_stays(length: int) -> None:
    assert shorten("é" * length) == "é" * length


def test_long_values_that_begin_alike_stay_distinct() -> None:
    values = [shorten("a" * 200 + str(number)) for number in range(100)]
    assert len(set(values)) == 100
    assert {len(value) for value in values} == {128}
    assert values[0].startswith("a" * 115 + "-")


def test_half_a_surrogate_pair_can_be_cut() -> None:
    assert len(shorten("\ud800" * 200)) == 128


@pytest.mark.parametrize("length", [5, 250])
def test_the_header_is_ascii_on_one_line_whatever_the_ids(length: int) -> None:
    ids = task_metadata_of(task_instance(dag_id="日本\n" * length, run_id="\U0001f600" * length))
    settings = read_settings().for_task(None, ids)
    value = settings.request_headers("GET", has_body=False)["x-portkey-metadata"]
    assert value.isascii()
    assert value.isprintable()
    assert json.loads(value) == {**ids, "airflow_request": "poll"}
    assert all(len(entry) <= 128 for entry in json.loads(value).values())


@pytest.mark.parametrize("own", ["no JSON", "[1]", '"text"', "3"])
def test_a_header_of_the_connection_that_is_no_object_is_left_alone(own: str) -> None:
    assert metadata_header("GET", TASK, own) is None
    settings = read_settings(extra={"headers": {"x-portkey-metadata": own}}).for_task(None, TASK)
    assert "x-portkey-metadata" not in settings.request_headers("GET", has_body=False)


@pytest.mark.parametrize(("method", "purpose"), [("GET", "poll"), ("POST", "submit"), ("PUT", "submit")])
def test_a_request_says_what_it_is_for(method: str, purpose: str) -> None:
    headers = read_settings().for_task(None, TASK).request_headers(method, has_body=False)
    assert json.loads(headers["x-portkey-metadata"])["airflow_request"] == purpose


def test_no_object_store_learns_which_task() -> None:
    settings = read_settings().for_task("trace", TASK).for_signed_url("https://store.example.com/a?sig=b")
    assert "x-portkey-metadata" not in settings.request_headers("GET", has_body=False)


@pytest.mark.parametrize("value", [True, "true", "True"])
def test_the_connection_omits_the_task(value: object) -> None:
    settings = read_settings(extra={"omit_task_metadata": value}).for_task(None, TASK)
    assert settings.task_metadata == ()
    assert "x-portkey-metadata" not in settings.request_headers("POST", has_body=True)


@pytest.mark.parametrize(("own", "kept"), [(0, 4), (12, 4), (13, 3), (15, 1), (16, 0), (20, 0)])
def test_a_job_has_as_many_pairs_of_its_task_as_fit(own: int, kept: int) -> None:
    pairs = {f"key_{number}": "value" for number in range(own)}
    found = with_task_metadata(pairs, TASK)
    assert found == {**pairs, **dict(list(TASK.items())[:kept])}


def test_the_pairs_of_a_job_win() -> None:
    assert with_task_metadata({"airflow_dag_id": "ours"}, TASK) == {**TASK, "airflow_dag_id": "ours"}
