"""Tables column by column are those row by row."""

from __future__ import annotations

import random
from typing import Any

import pytest

from airflow_provider_portkey.export.tables import flatten, flatten_rows
from airflow_provider_portkey.jobs.list_spec import FixedColumns
from airflow_provider_portkey.json_values import strict_json_of_all

COLUMNS = {
    "id": "text",
    "status": "text",
    "created_at": "integer",
    "score": "number",
    "done": "boolean",
    "started_at": "timestamp",
    "details": "json",
    "usage": "json",
}
FITTING: dict[str, list[Any]] = {
    "id": ["", "step_1", "ünïcödé 线 😀", 'a,b\n"c"', "\u2028"],
    "status": ["completed", "failed"],
    "created_at": [0, -1, 2**63 - 1, -(2**63) + 1],
    "score": [0, 1.5, -1e300, 2**53],
    "done": [True, False],
    "started_at": ["2026-11-22T11:00:00.5+01:00", "2026-11-22", 1_795_341_600, 1_795_341_600_000, 0],
    "details": [{}, [], {"b": [1, None], "a": "\ud800"}, "text", 0.5, False, float("nan")],
    "usage": [{"total_tokens": 165, "prompt_tokens": 120}],
    "new": [1, None, {"z": 1, "a": 2}, "text"],
}
#: For each column a value that is not of its type.
WRONG: list[tuple[str, Any]] = [
    ("id", 7), ("id", {"a": 1}), ("id", "half \ud83d"), ("id", b"bytes"[0]), ("status", False), ("status", []),
    ("created_at", True), ("created_at", 1.0), ("created_at", 2**63), ("created_at", -(2**63)), ("created_at", "1"),
    ("score", True), ("score", float("nan")), ("score", float("inf")), ("score", 2**53 + 1), ("score", 10**400),
    ("done", 1), ("done", 0), ("done", "true"),
    ("started_at", "yesterday"), ("started_at", ""), ("started_at", True), ("started_at", {}), ("started_at", 1e300),
]  # fmt: skip


def to_json(values: Any) -> list[bytes]:
    return strict_json_of_all(values)[0]


def rows_of(seed: int, count: int, **changes: Any) -> list[dict[str, Any]]:
    numbers = random.Random(seed)
    rows = []
    for _ in range(count):
        names = [name for name in FITTING if numbers.random() < 0.9]
        numbers.shuffle(names)
        rows.append({name: numbers.choice([None, *FITTING[name]]) for name in names})
    rows[numbers.randrange(count)] |= changes
    return rows


def row_by_row(rows: list[dict[str, Any]]) -> list[list[Any]]:
    flat = [flatten(row, COLUMNS).values() for row in rows]
    return [list(cells) for cells in zip(*flat, strict=True)]


@pytest.mark.parametrize("count", [1, 7, 8, 100])
@pytest.mark.parametrize("seed", range(20))
def test_fitting_rows(seed: int, count: int) -> None:
    rows = rows_of(seed, count)

    found = flatten_rows(rows, COLUMNS, to_json)

    assert found == row_by_row(rows)
    assert [list(map(type, cells)) for cells in found] == [list(map(type, cells)) for cells in row_by_row(rows)]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_one_value_of_another_type(name: str, value: Any) -> None:
    rows = rows_of(1, 50, **{name: value})

    found = flatten_rows(rows, COLUMNS, to_json)

    assert repr(found) == repr(row_by_row(rows))


def test_rows_that_are_no_plain_dicts() -> None:
    class Ordered(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            raise AssertionError("a subclass may read otherwise")

    rows = [Ordered(id=f"step_{at}", new=at) for at in range(20)]

    assert flatten_rows(rows, COLUMNS, to_json) == row_by_row(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 100])
def test_fixed_columns_have_no_other_fields(count: int) -> None:
    rows = [{"id": f"step_{at}"} for at in range(count)]
    columns = FixedColumns(id="text", status="text")

    assert flatten_rows(rows, columns, to_json) == [[row["id"] for row in rows], [None] * count]
    for wrong in ({"new": 1}, {"new": None}, {"status": 7}):
        rows[-1] = wrong
        with pytest.raises(ValueError, match=f"no place for {sorted(wrong)}".replace("[", r"\[")):
            flatten_rows(rows, columns, to_json)
