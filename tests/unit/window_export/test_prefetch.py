from __future__ import annotations

import pytest

from airflow_provider_portkey.export.worker_pool import WorkerPool
from airflow_provider_portkey.window_export.prefetch import prefetch


@pytest.mark.parametrize(("limit", "depth"), [(1, 1), (4, 4), (2, 7)])
def test_results_come_in_the_order_of_the_items(limit: int, depth: int) -> None:
    with WorkerPool(limit) as pool:
        found = [(item, future.result()) for item, future in prefetch(pool, range(50), lambda n: n * n, depth)]

    assert found == [(n, n * n) for n in range(50)]


def test_no_more_items_are_taken_than_the_depth_beyond_the_yielded_one() -> None:
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with WorkerPool(2) as pool:
        ahead = prefetch(pool, items(), str, depth=3)
        for number in range(10):
            assert next(ahead)[0] == number
            assert len(taken) == number + 4


def test_an_error_is_that_of_its_item_only() -> None:
    with WorkerPool(2) as pool:
        futures = dict(prefetch(pool, [1, 0, 2], lambda n: 1 / n, depth=3))

    assert [futures[n].exception() is None for n in (1, 0, 2)] == [True, False, True]
