"""Cost of a log export against the number of its parts: each part is an export of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from benchmarks.meter import meter
from benchmarks.row import Growth, Metric, Row, Setting

#: Logs of a part; Portkey's own limit is 50,000, of which the number of parts does not depend.
LIMIT = 100
_START = 1_780_000_000


class _Store(dict[str, Any]):
    """A task state store that counts the bytes of its JSON."""

    written = 0

    def set(self, key: str, value: Any) -> None:
        text = json.dumps(value)
        self.written += len(text)
        self[key] = json.loads(text)


def _operator(setting: Setting) -> Mapping[str, float]:
    import requests

    from airflow_provider_portkey.log_export.plan import make_plan
    from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator

    assert make_plan.__kwdefaults__ is not None
    make_plan.__kwdefaults__["limit"] = LIMIT
    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)

    # An hour that the server has no logs of yet.
    used = requests.get(f"{setting.url}/_mock_server/requests", timeout=60).json()
    start = _START + 100_000_000 + 10_000 * len(used)

    def export(parts: int, since: int) -> tuple[float, float]:
        end = since + 3000
        # A part is filled to nine tenths.
        logs = {"count": int(parts * LIMIT * 0.85), "start": since, "end": end}
        requests.post(f"{setting.url}/_mock_server/logs", json=logs, timeout=600).raise_for_status()
        task = PortkeyLogsToObjectStorageOperator(
            task_id="logs",
            path=str(setting.folder / "logs.jsonl"),
            window_start=_iso(since),
            window_end=_iso(end),
            requested_data=["id", "created_at"],
            poke_interval=0,
            timeout=3000,
            deferrable=False,
        )
        store = _Store()
        ti: Any = SimpleNamespace(dag_id="d", task_id="logs", run_id="r", map_index=-1, max_tries=1, try_number=1)
        ti.get_first_reschedule_date = lambda context: None
        context: Any = {"ti": ti, "task_state_store": store}
        with meter() as used:
            manifest = task.execute(context)
        assert manifest["rows"] == logs["count"]
        assert parts * 0.7 <= len(manifest["parts"]) <= parts * 1.5, len(manifest["parts"])
        return used.cpu, store.written / 1e6

    export(2, start)
    cpu, written = export(setting.size, start + 5000)
    return {"cpu_ms": 1000 * cpu / setting.size, "cpu_s": cpu, "state_mb": written}


def _iso(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()


ROW = Row(
    title="Parts of a log export",
    what="The logs of a window are cut into parts, each an export of Portkey's: draft, start, wait, download, join.",
    unit="parts",
    size=30,
    contenders={"PortkeyLogsToObjectStorageOperator": _operator},
    metrics={
        "cpu_ms": Metric("CPU a part, ms", 1),
        "cpu_s": Metric("CPU, s"),
        "state_mb": Metric("task state written, MB", 3),
    },
    growth=Growth("cpu_s", (3, 30, 300, 1000), quick=(10, 40)),
    server="airflow_provider_portkey.testing --port 0 --seconds 0",
)
