from __future__ import annotations

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.validation import read_id_list


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
    assert read_id_list(given) == ["run_1", "run_2"]


def test_none_is_none_and_an_empty_list_is_one():
    assert read_id_list(None) is None
    assert read_id_list([]) == read_id_list("[]") == []


@pytest.mark.parametrize(
    "given", ["", "  \n", "None", "[run_1", "['run_1'", '{"run": 1}', {"run_1": 1}, 7, [""], [".."], [7], "[1]", [None]]
)
def test_refuses_what_holds_no_ids(given):
    with pytest.raises(PortkeyInvalidArgumentError, match="run_ids"):
        read_id_list(given)
