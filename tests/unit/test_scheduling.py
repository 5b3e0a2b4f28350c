"""How the whole suite is spread over processes."""

from __future__ import annotations

from tests.scheduling import FileScheduling


def scope(nodeid: str) -> str:
    return FileScheduling._split_scope(None, nodeid)


def test_all_tests_on_the_real_airflow_are_one_unit():
    assert scope("tests/e2e/test_airflow.py::test_a[x]") == scope("tests/e2e/test_jobs.py::test_b")


def test_every_other_file_is_a_unit_of_its_own():
    files = ["tests/e2e/test_gateway.py", "tests/e2e/test_cluster.py", "tests/unit/a/test_b.py", "tests/unit/c.py"]
    units = [scope(f"{file}::test[tests/e2e/test_jobs.py::test]") for file in files]
    assert units == files
