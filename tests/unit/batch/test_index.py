"""Ids and outcomes on the worker's disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_portkey.batch.index import IdIndex, OutcomeIndex, RequestIndex, key_of

STRANGE = ["a", "b" * 64, "b" * 65, "b" * 66, "ü", "\ud83d", "\0", "a\0", " "]


def test_each_id_is_its_own_key() -> None:
    assert len({key_of(one) for one in STRANGE}) == len(STRANGE)
    assert all(len(key_of(one)) <= 64 for one in STRANGE)


def test_duplicates_are_named_with_the_first_of_them() -> None:
    with closing(IdIndex()) as index:
        for number, one in enumerate([*STRANGE, "c", *STRANGE, "a"], 1):
            index.add(one, number)
        found = list(index.duplicates())
    assert [(number, first) for number, first, _ in found] == [*((one + 10, one) for one in range(1, 10)), (20, 1)]
    assert found[0][2] == "a"


def test_of_several_outcomes_the_highest_rank_counts() -> None:
    with closing(OutcomeIndex()) as index:
        for rank, outcome in ((0, "first"), (-1, "second"), (5, "best"), (3, "later")):
            index.add("a", rank, outcome)
        index.add("b", 0, "of b")
        assert (index.take("a"), index.take("b"), index.take("c")) == ("best", "of b", None)
        assert (index.added, index.distinct()) == (5, 2)


def test_only_the_first_outcome_of_a_request_is_its_own() -> None:
    with closing(RequestIndex()) as index:
        assert index.add_all(iter(["a", "b", "a"])) == 2
        assert [index.take(one) for one in ("a", "a", "b", "x", "x", "\ud83d")] == [
            True,
            False,
            True,
            None,
            False,
            None,
        ]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs a list of open files")
def test_nothing_is_left_on_the_disk() -> None:
    with closing(OutcomeIndex()) as index:
        for number in range(20_000):
            index.add(f"id-{number}", 0, "x" * 1_000)
        assert index.take("id-7") == "x" * 1_000
        links = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
        opened = [os.readlink(link) for link in links if os.path.lexists(link)]
        # SQLite's temporary files are unlinked while they are open, so that a kill leaves nothing.
        assert [name.endswith(" (deleted)") for name in opened if "/etilqs_" in name] == [True]


def test_memory_does_not_grow_with_the_ids(peak: Callable[[Callable[[], Any]], int]) -> None:
    def fill(count: int) -> None:
        with closing(RequestIndex()) as index:
            assert index.add_all(f"id-{number}" for number in range(count)) == count

    fill(1_000)
    assert peak(lambda: fill(20_000)) < peak(lambda: fill(2_000)) + 50_000
