"""A table through three rounds of batches, by workers that are killed on the way: each row once, counts right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

#: Rows of the table; BATCH_ROUNDS_ROWS=100000 for the size that an acceptance test has.
ROWS = int(os.environ.get("BATCH_ROUNDS_ROWS", "3000"))
#: Kilobytes that a worker may grow by, whatever the number of rows.
MAX_GROWTH = 96 * 1024
WORKER = Path(__file__).with_name("batch_worker.py")
GOOD = '{"label": "good"}'


def ticket(number: int) -> str:
    return f"T-{number:06d}"


class Provider:
    """What happens to each ticket in each round: 3 % fail, 1 % are missing, 1 % do not fit the schema."""

    def __init__(self, rows: int) -> None:
        chosen = random.Random(11)
        self.kinds: list[dict[str, str]] = []
        left = [ticket(number) for number in range(rows)]
        for _ in range(3):
            kinds = {}
            for one in left:
                share = chosen.random()
                if share < 0.05:
                    kinds[one] = "failed" if share < 0.03 else "missing" if share < 0.04 else "invalid"
            # One ticket fails for good, so that the last round leaves something, however few the rows are.
            kinds["T-000000"] = "failed"
            self.kinds.append(kinds)
            left = [one for one in left if one in kinds]

    def plan(self, server: PortkeyMockServer, *, parts: int) -> None:
        for number, kinds in enumerate(self.kinds):
            of_kind = {kind: [one for one, found in kinds.items() if found == kind] for kind in set(kinds.values())}
            texts = _Texts(dict.fromkeys(of_kind.get("invalid", ()), '{"label": "ugly"}'))
            server.plan(
                "batches",
                times=parts if number == 0 else 1,
                failing=dict.fromkeys(of_kind.get("failed", ()), 429),
                missing=of_kind.get("missing", ()),
                texts=texts,
                seconds=0.2,
            )

    def final(self, one: str) -> str:
        """The status after all rounds: that of the last round if a ticket failed in each, otherwise a success."""
        return self.kinds[-1].get(one, "succeeded") if all(one in kinds for kinds in self.kinds) else "succeeded"


class _Texts(dict[str, str]):
    def get(self, key: str, default: Any = None) -> str:  # type: ignore[override]
        return super().get(key, GOOD)


def start(folder: Path, rows_path: Path, max_requests: int, seconds: float) -> int:
    """Run a worker to its end or to its death, and return how it ended."""
    command = [sys.executable, str(WORKER), str(folder), str(rows_path), str(max_requests), str(seconds)]
    with (folder / "worker.log").open("ab") as log:
        return subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False).returncode


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_row_is_once_in_the_final_table_whatever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_path, provider = tmp_path / "tickets.parquet", Provider(ROWS)
    tickets = [ticket(number) for number in range(ROWS)]
    notes = [f"Note {number}: " + "word " * 20 for number in range(ROWS)]
    pyarrow.parquet.write_table(pyarrow.table({"ticket": tickets, "note": notes}), rows_path)
    max_requests = min(50_000, ROWS // 3 + 1)
    parts = -(-ROWS // max_requests)
    finals = []
    cpu = 0.0
    for kills in (0, 5):
        folder = tmp_path / f"killed-{kills}"
        folder.mkdir()
        with PortkeyMockServer(run_seconds=0) as server:
            monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
            provider.plan(server, parts=parts)
            when = random.Random(kills)
            for _ in range(kills):
                assert start(folder, rows_path, max_requests, when.uniform(0.05, 0.19) * cpu) == -signal.SIGPROF
            assert start(folder, rows_path, max_requests, 0) == 0, (folder / "worker.log").read_text()[-3000:]
            submitted = [one for one in server.requests if one.method == "POST" and one.path.endswith("/batches")]
        (usage,) = (json.loads(path.read_text()) for path in folder.glob("usage-*.json"))
        cpu = usage["cpu"]
        print(f"{ROWS} rows, {kills} kills: {usage}")
        assert usage["grown"] < MAX_GROWTH
        assert len(submitted) == parts + 2
        assert not list(folder.glob(".*.part"))
        finals.append((folder / "final.parquet").read_bytes())

        table = pyarrow.parquet.read_table(folder / "final.parquet").to_pylist()
        assert [row["ticket"] for row in table] == tickets
        assert {row["ticket"]: row["status"] for row in table} == {one: provider.final(one) for one in tickets}
        assert {row["parsed"] for row in table if row["status"] == "succeeded"} == {'{"label":"good"}'}
        counts = Counter(row["status"] for row in table)
        manifest = json.loads((folder / "merge.xcom.json").read_text())["return_value"]
        names = ("succeeded", "failed", "expired", "cancelled", "missing", "invalid")
        assert {name: manifest[name] for name in names} == {name: counts[name] for name in names}
        assert (manifest["requests"], manifest["unexpected"], manifest["unknown"]) == (ROWS, 0, 0)
        assert len(manifest["tables"]) == parts + 2
        for number, kinds in enumerate(provider.kinds[:2], 2):
            retried = json.loads((folder / f"retry_{number}.xcom.json").read_text())["manifest"]
            assert retried["retried_by_status"] == dict(sorted(Counter(kinds.values()).items()))
        invalid = pyarrow.parquet.read_table(folder / "final.invalid.parquet").to_pylist()
        assert [row["ticket"] for row in invalid] == [row["ticket"] for row in table if row["status"] == "invalid"]
    assert finals[0] == finals[1]
