"""CPU a page: listing the steps of a run, 100 a page."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping

from benchmarks.meter import meter
from benchmarks.row import Bar, Growth, Metric, Row, Setting

PAGE = 100
THREAD = "thread_1"


def _path(count: int) -> str:
    return f"/threads/{THREAD}/runs/run_{count}/steps"


def _measured(walk: Callable[[int], Iterable[object]], setting: Setting) -> Mapping[str, float]:
    """Walk over two pages for the warm-up, and over all of them for the measurement."""
    for _ in walk(2 * PAGE):
        pass
    with meter() as used:
        count = sum(1 for _ in walk(setting.size * PAGE))
    assert count == setting.size * PAGE
    return {"cpu_ms": 1000 * used.cpu / setting.size, "cpu_s": used.cpu, "memory_mb": used.memory_mb}


def _portkey_hook(setting: Setting) -> Mapping[str, float]:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)
    hook = PortkeyHook()
    return _measured(lambda count: hook.iter_run_steps(THREAD, f"run_{count}", page_size=PAGE), setting)


def _portkey_hook_without_orjson(setting: Setting) -> Mapping[str, float]:
    sys.modules["orjson"] = None  # type: ignore[assignment]
    return _portkey_hook(setting)


def _requests_loop(setting: Setting) -> Mapping[str, float]:
    import requests

    session = requests.Session()

    def walk(count: int) -> Iterable[object]:
        query = {"limit": str(PAGE), "order": "asc"}
        while True:
            response = session.get(setting.base_url() + _path(count), params=query, timeout=60)
            page = json.loads(response.content)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    return _measured(walk, setting)


def _portkey_ai(setting: Setting) -> Mapping[str, float]:
    from portkey_ai import Portkey

    client = Portkey(api_key="key", provider="openai", Authorization="key", base_url=setting.base_url())
    steps = client.beta.threads.runs.steps

    def walk(count: int) -> Iterable[object]:
        after: dict[str, str] = {}
        while True:
            # Its pages do not follow each other by themselves.
            page = steps.list(thread_id=THREAD, run_id=f"run_{count}", limit=PAGE, order="asc", **after)
            yield from page.data
            if not page.has_more:
                return
            after = {"after": page.last_id}

    return _measured(walk, setting)


def _openai(setting: Setting) -> Mapping[str, float]:
    from openai import OpenAI

    client = OpenAI(api_key="key", base_url=setting.base_url())
    steps = client.beta.threads.runs.steps
    return _measured(
        lambda count: steps.list(thread_id=THREAD, run_id=f"run_{count}", limit=PAGE, order="asc"), setting
    )


def _dlt(setting: Setting) -> Mapping[str, float]:
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    def walk(count: int) -> Iterable[object]:
        paginator = JSONResponseCursorPaginator(cursor_path="last_id", cursor_param="after", has_more_path="has_more")
        client = RESTClient(base_url=setting.base_url(), paginator=paginator, data_selector="data")
        for page in client.paginate(_path(count), params={"limit": PAGE, "order": "asc"}):
            yield from page

    return _measured(walk, setting)


ROW = Row(
    title="CPU a page",
    what="The steps of a run are listed, 100 a page, from a server on loopback. "
    "The floor is a loop of `requests` and `json`. The extra `fast` installs `orjson`.",
    unit="pages",
    size=200,
    contenders={
        "PortkeyHook": _portkey_hook,
        "PortkeyHook without orjson": _portkey_hook_without_orjson,
        "requests loop": _requests_loop,
        "portkey-ai": _portkey_ai,
        "dlt": _dlt,
        "openai": _openai,
    },
    metrics={
        "cpu_ms": Metric("CPU a page, ms"),
        "cpu_s": Metric("CPU, s"),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(
        Bar("cpu_ms", "requests loop", at_most=1.05, quick=1.5),
        Bar("cpu_ms", "portkey-ai", at_most=0.5),
        Bar("cpu_ms", "dlt", at_most=1.0),
        Bar("cpu_ms", "openai", at_most=1.0),
    ),
    quick_size=60,
    growth=Growth("cpu_s", (20, 200, 2000), quick=(50, 200)),
    notes="Half of a page's CPU is the JSON. `requests` would read the environment for each request and merge its "
    "settings, which takes a third of the rest: the session does both once. No thread bounds an attempt: each `recv` "
    "has the time that is left of it. Before `orjson` reads a body, the body is searched for what `json` reads "
    "otherwise (deep nesting, long numbers).",
    needs={"portkey-ai": "portkey_ai", "dlt": "dlt"},
)
