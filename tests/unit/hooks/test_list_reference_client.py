"""The queries of ``hook.list`` are those of OpenAI's own client, which pages the same lists of a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_portkey import jobs
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import ListSpec

openai = pytest.importorskip("openai", reason="OpenAI's client is not installed")

ITEMS = [{"id": f"item_{number}", "object": "thing", "type": "message"} for number in range(230)]
THREAD = {"thread_id": "thread_1"}

#: A declared list, its ids, further parameters, and the same list of OpenAI's client.
ORACLE: dict[str, tuple[ListSpec, dict[str, str], dict[str, Any], Callable[..., Any]]] = {
    "runs": (jobs.RUNS, THREAD, {}, lambda client: client.beta.threads.runs.list),
    "steps": (
        jobs.RUN_STEPS,
        {**THREAD, "run_id": "run_1"},
        {"include": ["step_details.tool_calls[*].file_search.results[*].content"]},
        lambda client: client.beta.threads.runs.steps.list,
    ),
    "messages": (jobs.MESSAGES, THREAD, {"run_id": "run_1"}, lambda client: client.beta.threads.messages.list),
    "batches": (jobs.BATCHES, {}, {}, lambda client: client.batches.list),
    "files": (jobs.FILES, {}, {"purpose": "batch"}, lambda client: client.files.list),
    "vector store files": (
        jobs.VECTOR_STORE_FILES,
        {"vector_store_id": "vs_1"},
        {"filter": "completed"},
        lambda client: client.vector_stores.files.list,
    ),
    "input items": (
        jobs.RESPONSE_INPUT_ITEMS,
        {"response_id": "resp_1"},
        {"include": ["message.output_text.logprobs"]},
        lambda client: client.responses.input_items.list,
    ),
    "events": (
        jobs.FINE_TUNING_EVENTS,
        {"fine_tuning_job_id": "ftjob_1"},
        {},
        lambda client: client.fine_tuning.jobs.list_events,
    ),
    "checkpoints": (
        jobs.FINE_TUNING_CHECKPOINTS,
        {"fine_tuning_job_id": "ftjob_1"},
        {},
        lambda client: client.fine_tuning.jobs.checkpoints.list,
    ),
}


class Handler(BaseHTTPRequestHandler):
    """Serves :data:`ITEMS` under every path, in pages."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qsl(parts.query)
        self.server.requests.append((parts.path, sorted(query)))  # type: ignore[attr-defined]
        given = dict(query)
        start = int(given.get("after", "item_-1").removeprefix("item_")) + 1
        data = ITEMS[start : start + int(given["limit"])]
        page = {"object": "list", "data": data, "has_more": start + len(data) < len(ITEMS)}
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("page_size", [100, 37, 20])
@pytest.mark.parametrize(
    ("name", "order"),
    [
        (name, order)
        for name in ORACLE
        for order in (None, "asc", "desc")
        if order is None or "order" in ORACLE[name][0].parameters
    ],
)
@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated")
def test_the_queries_are_those_of_openais_client(
    portkey_connection: Any, server: Any, name: str, order: str | None, page_size: int
) -> None:
    spec, ids, parameters, list_of = ORACLE[name]
    given = parameters | ({"order": order} if order else {})
    url = f"http://127.0.0.1:{server.server_port}/v1"
    portkey_connection(host=url)

    ours = [item["id"] for item in PortkeyHook().list(spec, ids, page_size=page_size, **given)]
    our_requests = server.requests[:]
    server.requests.clear()
    with openai.OpenAI(api_key="none", base_url=url) as client:
        theirs = [item.id for item in list_of(client)(**ids, **given, limit=page_size)]
    their_requests = server.requests[:]
    server.requests.clear()

    assert ours == theirs == [item["id"] for item in ITEMS]
    assert our_requests == their_requests
    assert len(our_requests) == -(-len(ITEMS) // page_size)
