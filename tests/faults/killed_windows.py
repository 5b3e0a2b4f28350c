"""
Exports of windows whose processes are killed (``SIGKILL``) at random points: ``killed_windows.py --kills N``.

Each export is a process of its own, forked from this one. After every kill, and at the end, the files and the records
must keep what docs/scheduling-exports.md promises; the first difference ends the program.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(
    {"conn_type": "portkey", "host": "http://127.0.0.1:9/v1", "password": "key", "extra": {"provider": "openai"}}
)

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.testing import AssetStateStore
from airflow_provider_portkey.transfers.steps_to_object_storage import (
    PortkeyThreadStepsToObjectStorageOperator,
)
from airflow_provider_portkey.window_export import export as _implementation  # noqa: F401  before the fork
from airflow_provider_portkey.window_export.state import Records

NIGHT = datetime(2025, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
THREADS = [f"thread_{number:02d}" for number in range(24)]
RUNS = 3


class Provider:
    """Runs that end at some time, without HTTP."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.statuses: dict[tuple[str, str], str] = {}
        self.created_at: dict[tuple[str, str], float] = {}
        for thread in THREADS:
            for night in range(2):
                for number in range(RUNS):
                    run = thread, f"run_{night}_{number}"
                    self.statuses[run] = chance.choice(["completed", "failed", "in_progress", "queued"])
                    self.created_at[run] = (NIGHT + night * DAY + timedelta(hours=number + 1)).timestamp()

    def advance(self, share: float) -> None:
        """Let a share of the active runs end."""
        for run, status in self.statuses.items():
            if status in ("in_progress", "queued") and self.chance.random() < share:
                self.statuses[run] = "completed"

    def get(self, path: str, ids: Any, query: Any = None, **_: Any) -> dict[str, Any]:
        """Respond in place of the client."""
        thread = ids["thread_id"]
        if path.endswith("/steps"):
            return {
                "data": [{"id": f"step_{number}", "run_id": ids["run_id"]} for number in range(2)],
                "has_more": False,
            }
        if "run_id" in ids:
            return self._run(thread, ids["run_id"])
        runs = [self._run(*run) for run in self.statuses if run[0] == thread]
        return {"data": sorted(runs, key=lambda run: run["created_at"], reverse=True), "has_more": False}

    def _run(self, thread: str, run_id: str) -> dict[str, Any]:
        key = thread, run_id
        return {"id": run_id, "thread_id": thread, "status": self.statuses[key], "created_at": self.created_at[key]}


class Trial:
    """Two nights with kills, and one more night without."""

    #: How long an export takes, as the last ones did.
    seconds = 0.3

    def __init__(self, folder: Path, chance: random.Random, *, use_asset: bool) -> None:
        self.folder = folder
        self.chance = chance
        self.provider = Provider(chance)
        self.kills = 0
        self.context: Any = {}
        if use_asset:
            self.context = {"asset_state_store": AssetStateStore(path=folder / "asset.json")}
        PortkeyClient.get = self.provider.get  # type: ignore[method-assign]
        self.at_most = chance.choice([1, 2, 4, 8])
        self.seen: dict[Path, bytes] = {}

    def run(self, kills: int) -> None:
        """Export the nights, and check the files."""
        for night in (0, 1):
            for _ in range(self.chance.randrange(kills + 1)):
                self._export(night, kill=True)
                self._check(night)
                self.provider.advance(0.3)
            self._export(night)
            self._check(night)
            self.provider.advance(0.5)
        self.provider.advance(1)
        for night in (2, 0, 1):
            self._export(night)
            self._check(night)
        found = Counter((row["thread_id"], row["run_id"], row["id"]) for row in self._rows())
        expected = {(*run, f"step_{number}") for run in self.provider.statuses for number in range(2)}
        assert set(found) == expected, set(found) ^ expected
        assert set(found.values()) == {1}, found.most_common(3)
        left = [path.name for path in self.folder.rglob("*.part") if path.name != "asset.json.part"]
        records = self.folder / "_unfinished"
        left += [path.name for path in records.iterdir() if path.name.count(".") > 1] if records.exists() else []
        for store in self.context.values():
            left += [key for key in store.values if key.rpartition("/")[2].count(".") > 1]
        assert left == [], left

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {**json.loads(line), "thread_id": file.name.removesuffix(".jsonl")}
            for file in self.folder.rglob("*.jsonl")
            for line in file.read_text().splitlines()
        ]

    def _export(self, night: int, *, kill: bool = False) -> None:
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                PortkeyThreadStepsToObjectStorageOperator(
                    task_id="export",
                    thread_ids=THREADS,
                    path=str(self.folder),
                    window_start=NIGHT + night * DAY,
                    window_end=NIGHT + (night + 1) * DAY,
                    max_concurrent_requests=self.at_most,
                ).execute(self.context)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", flush=True)
                os._exit(1)
            os._exit(0)
        if kill:
            # An export takes a fraction of a second; about a fifth of them end before they are killed.
            time.sleep(self.chance.random() * self.seconds * 1.2)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self.kills += 1
        else:
            assert status == 0, f"night {night} failed"
            Trial.seconds = 0.8 * Trial.seconds + 0.2 * (time.monotonic() - begun)

    def _check(self, night: int) -> None:
        """Check that a file, once there, stays the same, and that what it lacks was saved as carried over before."""
        end = f"{NIGHT + (night + 1) * DAY:%Y-%m-%dT%H:%M:%SZ}"
        record = Records(self.context, ObjectStoragePath(str(self.folder))).read_with_journal(end)
        for path in self.folder.glob("window_start=*/*.jsonl"):
            data = path.read_bytes()
            assert self.seen.setdefault(path, data) == data, f"{path} has changed"
        folder = self.folder / f"window_start={NIGHT + night * DAY:%Y%m%dT%H%M%SZ}"
        for path in folder.glob("*.jsonl"):
            thread = path.name.removesuffix(".jsonl")
            has = {json.loads(line)["run_id"] for line in path.read_text().splitlines()}
            own = {run for of, run in self.provider.statuses if of == thread and run.startswith(f"run_{night}_")}
            assert record is not None
            carried = record.decided[thread].carried_out if thread in record.decided else {}
            assert own - has <= carried.keys(), (
                f"{path} was there before the decision about {own - has - carried.keys()}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="at least so many in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asset", action="store_true", help="the records are in the state store of an asset")
    options = parser.parse_args()
    kills = trials = 0
    while kills < options.kills:
        chance = random.Random(options.seed * 1_000_003 + trials)
        with tempfile.TemporaryDirectory(prefix="killed-windows-") as folder:
            trial = Trial(Path(folder), chance, use_asset=options.asset)
            trial.run(kills=8)
        kills += trial.kills
        trials += 1
    print(f"{kills} kills in {trials} trials")


if __name__ == "__main__":
    main()
