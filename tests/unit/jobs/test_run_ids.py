from __future__ import annotations

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgument
from airflow_provider_portkey.jobs.run_ids import read_run_ids


@pytest.mark.parametrize(
    "given",
    [
        ["run_1", "run_2"],
        ("run_1", "run_2", "run_1"),
        iter(["run_1", "run_2"]),
        '["run_1", "run_2"]',
        "['run_1', 'run_2']",
        "run_1,run_2",
        " run_1 ,\n run_2,\n",
        "run_1\nrun_2\n",
    ],
)
def test_reads_every_form_of_a_list(given):
    assert read_run_ids(given) == ["run_1", "run_2"]


def test_none_is_none_and_an_empty_list_is_one():
    assert read_run_ids(None) is None
    assert read_run_ids([]) == read_run_ids("[]") == []


@pytest.mark.parametrize(
    "given", ["", "  \n", "None", "[run_1", "['run_1'", '{"run": 1}', {"run_1": 1}, 7, [""], [".."], [7], "[1]", [None]]
)
def test_refuses_what_holds_no_ids(given):
    with pytest.raises(PortkeyInvalidArgument, match="run_ids"):
        read_run_ids(given)
