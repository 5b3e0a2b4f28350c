"""CPU a line of a large batch: its input checked and uploaded, its output downloaded, reconciled and written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.meter import meter
from benchmarks.row import Bar, Growth, Metric, Row, Setting

ENDPOINT = "/v1/chat/completions"
_PROMPT = "Which orders of this customer are late — and by how many days? " * 4

#: Does all of it for an input file, and returns the number of outcomes.
Batch = Callable[[Path], int]


def _measured(batch: Batch, setting: Setting, *, times: int = 1) -> Mapping[str, float]:
    """Do a small batch for the warm-up, and the whole one for the measurement."""
    count = times * setting.size
    small, large = _input(setting, 100), _input(setting, count)
    batch(small)
    with meter() as used:
        outcomes = batch(large)
    assert outcomes == count, outcomes
    return {"cpu_us": 1e6 * used.cpu / count, "cpu_s": used.cpu, "memory_mb": used.memory_mb}


def _input(setting: Setting, count: int) -> Path:
    path = setting.folder / f"input_{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            messages = [{"role": "user", "content": f"{_PROMPT}{number}"}]
            body = {"model": "gpt-5-mini", "messages": messages, "temperature": 0.2}
            line = {"custom_id": f"order-{number}", "method": "POST", "url": ENDPOINT, "body": body}
            file.write(json.dumps(line) + "\n")
    return path


def _operators(setting: Setting, *, times: int = 1) -> Mapping[str, float]:
    from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
    from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
        PortkeyBatchOutputToObjectStorageOperator,
    )

    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)

    def batch(path: Path) -> int:
        create = PortkeyCreateBatchOperator(task_id="create", input_path=str(path), poke_interval=0.1)
        created = create.execute({})
        output = PortkeyBatchOutputToObjectStorageOperator(
            task_id="output", batch_id=created["id"], path=str(path.with_suffix(".out"))
        )
        manifest: dict[str, Any] = output.execute({})
        assert manifest["missing"] == 0
        return int(manifest["succeeded"])

    return _measured(batch, setting, times=times)


def _operators_five_times(setting: Setting) -> Mapping[str, float]:
    return _operators(setting, times=5)


def _operators_without_orjson(setting: Setting) -> Mapping[str, float]:
    import sys

    sys.modules["orjson"] = None  # type: ignore[assignment]
    return _operators(setting)


def _loop(setting: Setting) -> Mapping[str, float]:
    """Do it with ``requests`` and ``json``, with files and ids in memory."""
    import time

    import requests

    session = requests.Session()
    session.headers.update({"x-portkey-api-key": "key", "x-portkey-provider": "openai", "Authorization": "Bearer key"})
    url = setting.base_url()

    def batch(path: Path) -> int:
        missing = set()
        with path.open("rb") as file:
            for line in file:
                request = json.loads(line)
                assert request["method"] == "POST"
                assert request["url"] == ENDPOINT
                assert isinstance(request["body"], dict)
                assert request["custom_id"] not in missing
                missing.add(request["custom_id"])
            file.seek(0)
            form = {"purpose": "batch"}
            upload = session.post(f"{url}/files", data=form, files={"file": ("input.jsonl", file)}, timeout=600).json()
        created = {"input_file_id": upload["id"], "endpoint": ENDPOINT, "completion_window": "24h"}
        state = session.post(f"{url}/batches", json=created, timeout=600).json()
        while state["status"] != "completed":
            time.sleep(0.1)
            state = session.get(f"{url}/batches/{state['id']}", timeout=600).json()
        content = session.get(f"{url}/files/{state['output_file_id']}/content", timeout=600).content
        outcomes = tokens = 0
        with path.with_suffix(".out").open("w", encoding="utf-8") as written:
            for line in content.splitlines():
                outcome = json.loads(line)
                missing.remove(outcome["custom_id"])
                assert outcome["response"]["status_code"] == 200
                tokens += outcome["response"]["body"]["usage"]["total_tokens"]
                written.write(json.dumps(outcome) + "\n")
                outcomes += 1
        assert not missing
        return outcomes

    return _measured(batch, setting)


ROW = Row(
    title="CPU a line of a batch",
    what="The input of a batch is checked and uploaded; when the batch has completed, its output is downloaded, "
    "compared with the input, which is downloaded as well, and written. The other is a loop of `requests` and `json` "
    "that does so with the ids and the whole output in memory, and does not download the input again.",
    unit="lines",
    size=200_000,
    contenders={
        "operators": _operators,
        "json loop": _loop,
        "operators without orjson": _operators_without_orjson,
        "operators, 5 times the lines": _operators_five_times,
    },
    metrics={
        "cpu_us": Metric("CPU a line, µs", 1),
        "cpu_s": Metric("CPU, s"),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(
        Bar("cpu_us", "json loop", at_most=2.0, quick=3.0),
        Bar("memory_mb", "operators", ours="operators, 5 times the lines", at_most=1.2),
    ),
    quick_size=5_000,
    growth=Growth("cpu_s", (2_000, 20_000, 200_000), quick=(2_000, 10_000)),
    server="benchmarks.batch_provider",
    rounds=3,
    notes="Each line is read as JSON three times: when the input is checked, when its ids are read again for the "
    "comparison, and when the output is written; the loop reads two. The ids are in SQLite files on the worker's disk, "
    "of which 8 MB are in memory, so that memory does not grow with the lines.",
)
