"""Memory does not grow with what is exported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from sys import getsizeof
from typing import Any

import pytest

from airflow_provider_portkey.client.sync import PortkeyClient


class Pages:
    """Responses without HTTP: pages of steps."""

    def __init__(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = steps
        monkeypatch.setattr(PortkeyClient, "get", lambda client, path, ids, query=None, **_: self.get(path, query))

    def get(self, path: str, query: Any) -> dict[str, Any]:
        if not path.endswith("/steps"):
            run = {"id": "run_1", "created_at": 1_763_683_200, "status": "completed"}
            return {"data": [run] if self.steps else [], "has_more": False}
        start = int(dict(query).get("after", "-1")) + 1
        data = [{"id": str(number), "x": "x" * 500} for number in range(start, min(start + 100, self.steps))]
        return {"data": data, "has_more": start + 100 < self.steps}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps_of_a_run(
    portkey_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nights: Any, peak: Any
) -> None:
    Pages(300, monkeypatch)
    nights.export(tmp_path / "warm")
    Pages(2_000, monkeypatch)
    few = peak(lambda: nights.export(tmp_path / "few"))
    Pages(40_000, monkeypatch)
    many = peak(lambda: nights.export(tmp_path / "many"))

    assert (nights.folder(tmp_path / "many") / "thread_1.jsonl").stat().st_size > 20_000_000
    assert many - few < 3_000_000  # the cursors and the latest 10,000 ids that paging remembers


@pytest.mark.slow
def test_memory_does_not_grow_with_the_size_of_runs(
    portkey_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nights: Any, peak: Any
) -> None:
    def serve(count: int) -> None:
        def get(client: PortkeyClient, path: str, ids: Any, query: Any = None, **_: Any) -> dict[str, Any]:
            if path.endswith("/steps"):
                return {"data": [], "has_more": False}
            start = int(dict(query).get("after", "-1")) + 1
            run = {"created_at": 1_763_683_200, "status": "completed", "instructions": "x" * 10_000}
            data = [{"id": str(number), **run} for number in range(start, min(start + 100, count))]
            return {"data": data, "has_more": start + 100 < count}

        monkeypatch.setattr(PortkeyClient, "get", get)

    serve(100)
    nights.export(tmp_path / "warm", include_runs=True)
    few = peak(lambda: nights.export(tmp_path / "few", include_runs=True))
    serve(3_000)
    many = peak(lambda: nights.export(tmp_path / "many", include_runs=True))

    assert (nights.folder(tmp_path / "many", kind="runs") / "thread_1.jsonl").stat().st_size > 30_000_000
    assert many - few < 3_000_000  # a summary of each run


@pytest.mark.slow
def test_memory_does_not_grow_with_the_threads_of_a_file(
    portkey_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nights: Any, peak: Any
) -> None:
    pages = Pages(0, monkeypatch)
    listed = Counter[str]()
    monkeypatch.setattr(pages, "get", lambda path, query: {"data": [listed.update("x")][:0], "has_more": False})
    for count in (1_000, 20_000):
        (tmp_path / f"{count}.txt").write_text("".join(f"thread_{number}\n" for number in range(count)))
    nights.export(tmp_path / "warm", thread_ids_path=str(tmp_path / "1000.txt"))
    few = peak(lambda: nights.export(tmp_path / "few", thread_ids_path=str(tmp_path / "1000.txt")))
    listed.clear()
    many = peak(lambda: nights.export(tmp_path / "many", thread_ids_path=str(tmp_path / "20000.txt")))

    assert listed == {"x": 20_000}
    # Less than the ids alone would take. What else the process does by the way, such as log lines, is within the bound.
    assert many - few < 0.6 * 19_000 * getsizeof("thread_10000")
