"""Every request of the hook is one that Portkey's OpenAPI contract allows: Prism refuses the others."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import PortkeyBadRequestError, PortkeyUnexpectedResponseError
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import ListSpec, lists
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING
from airflow_provider_portkey.jobs.log_export import LOG_COLUMNS, LOG_EXPORT
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from dev.prism import Prism

CONTRACT = Path(__file__).with_name("portkey_contract.yaml")
THREAD, RUN_ID = "thread_1", "run_1"
WINDOW = {"time_of_generation_min": "2026-11-01T00:00:00Z", "time_of_generation_max": "2026-11-02T00:00:00Z"}
FUNCTION = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    with Prism(CONTRACT, log=tmp_path_factory.mktemp("prism") / "prism.log") as prism:
        yield prism


@pytest.fixture
def hook(prism: Prism, monkeypatch: pytest.MonkeyPatch) -> PortkeyHook:
    extra = {"provider": "openai", "provider_api_key": "mock-provider-key", "max_retries": 0}
    connection = {"conn_type": "portkey", "host": f"{prism.url}/v1", "password": "mock-key", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    return PortkeyHook()


def create_run(**arguments: Any) -> Any:
    arguments |= {"instructions": "Be short.", "model": "gpt-5-mini", "tools": [FUNCTION], "metadata": {"team": "data"}}
    extra_body = {"temperature": 0.5, "tool_choice": "auto", "max_prompt_tokens": 1000}
    operator = PortkeyCreateRunOperator(
        task_id="run", assistant_id="asst_1", wait_for_completion=False, extra_body=extra_body, **arguments
    )
    # The contract's example of a response has no thread.
    operator._ids_of = lambda job: {"thread_id": THREAD, "run_id": RUN_ID}
    return operator.execute({})


def create_response() -> Any:
    return PortkeyCreateResponseOperator(
        task_id="response",
        model="o1-pro",  # one of the few models that the contract lists
        input="Why?",
        instructions="Be short.",
        metadata={"team": "data"},
        extra_body={"store": True, "max_output_tokens": 100},
        wait_for_completion=False,
    ).execute({})


def create_batch(folder: Path) -> Any:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    (folder / "in.jsonl").write_text(json.dumps(line))
    return PortkeyCreateBatchOperator(
        task_id="batch",
        input_path=str(folder / "in.jsonl"),
        metadata={"team": "data"},
        wait_for_completion=False,
    ).execute({})


#: The calls for each operation of the contract.
CALLS: dict[str, Callable[[PortkeyHook, Path], Any]] = {
    "GET /models": lambda hook, _: hook.test_connection(),
    "GET /threads/{}/runs": lambda hook, _: (
        list(hook.iter_runs(THREAD, order="asc", after="run_0", page_size=37)),
        hook.list_runs_page(THREAD, limit=20, order="desc", before="run_9"),
    ),
    "POST /threads/{}/runs": lambda hook, _: create_run(
        thread_id=THREAD,
        additional_instructions="In French.",
        additional_messages=[{"role": "user", "content": "Why?"}],
    ),
    "POST /threads/runs": lambda hook, _: create_run(thread={"messages": [{"role": "user", "content": "Why?"}]}),
    "GET /threads/{}/runs/{}": lambda hook, _: hook.get_run(THREAD, RUN_ID),
    "POST /threads/{}/runs/{}/cancel": lambda hook, _: hook.cancel_run(THREAD, RUN_ID),
    "POST /threads/{}/runs/{}/submit_tool_outputs": lambda hook, _: hook.submit_tool_outputs(
        THREAD, RUN_ID, [{"tool_call_id": "call_1", "output": "42"}]
    ),
    "GET /threads/{}/runs/{}/steps": lambda hook, _: (
        list(hook.iter_run_steps(THREAD, RUN_ID, order="asc")),
        hook.list_run_steps_page(THREAD, RUN_ID, include=["step_details.tool_calls[*].file_search.results[*].content"]),
    ),
    "GET /threads/{}/runs/{}/steps/{}": lambda hook, _: hook.get_run_step(THREAD, RUN_ID, "step_1"),
    "GET /threads/{}/messages": lambda hook, _: list(hook.iter_messages(THREAD, run_id=RUN_ID)),
    "GET /threads/{}/messages/{}": lambda hook, _: hook.get_message(THREAD, "msg_1"),
    "POST /responses": lambda hook, _: create_response(),
    "GET /responses/{}": lambda hook, _: hook.get_response("resp_1"),
    "GET /responses/{}/input_items": lambda hook, _: list(hook.iter_response_input_items("resp_1")),
    "POST /responses/{}/cancel": lambda hook, _: hook.cancel_response("resp_1"),
    "POST /files": lambda hook, _: hook.upload_batch_file(io.BytesIO(b"{}\n" * 1000), filename="in.jsonl"),
    "GET /files": lambda hook, _: list(hook.iter_batch_files()),
    "GET /files/{}": lambda hook, _: hook.get_file("file_1"),
    "GET /files/{}/content": lambda hook, _: list(hook.iter_file_content("file_1")),
    "GET /vector_stores/{}/files": lambda hook, _: list(
        hook.list(lists.VECTOR_STORE_FILES, {"vector_store_id": "vs_1"}, filter="completed")
    ),
    "POST /batches": lambda hook, folder: create_batch(folder),
    "GET /batches": lambda hook, _: list(hook.iter_batches(after="batch_0")),
    "GET /batches/{}": lambda hook, _: hook.get_batch("batch_1"),
    "POST /batches/{}/cancel": lambda hook, _: hook.cancel_batch("batch_1"),
    "GET /batches/{}/output": lambda hook, _: list(hook.iter_batch_output("batch_1")),
    "GET /fine_tuning/jobs/{}": lambda hook, _: hook.get_fine_tuning_job("ftjob_1"),
    "POST /fine_tuning/jobs/{}/cancel": lambda hook, _: hook.cancel_job(FINE_TUNING, {"fine_tuning_job_id": "ftjob_1"}),
    "GET /fine_tuning/jobs/{}/events": lambda hook, _: list(hook.iter_fine_tuning_events("ftjob_1")),
    "GET /fine_tuning/jobs/{}/checkpoints": lambda hook, _: list(hook.iter_fine_tuning_checkpoints("ftjob_1")),
    "POST /logs/exports": lambda hook, _: hook.create_log_export(
        filters=WINDOW, requested_data=list(LOG_COLUMNS), workspace_id="ws", description="nightly"
    ),
    "PUT /logs/exports/{}": lambda hook, _: hook.update_log_export(
        "exp_1", filters=WINDOW, requested_data=list(LOG_COLUMNS), workspace_id="ws"
    ),
    "GET /logs/exports/{}": lambda hook, _: hook.get_log_export("exp_1"),
    "POST /logs/exports/{}/start": lambda hook, _: hook.start_log_export("exp_1"),
    "POST /logs/exports/{}/cancel": lambda hook, _: hook.cancel_log_export("exp_1"),
    "GET /logs/exports/{}/download": lambda hook, _: hook.log_export_download_url("exp_1"),
}


def operation(method: str, path: str) -> str:
    return f"{method} {re.sub(r'{.*?}', '{}', path.removeprefix('/v1'))}"


def test_every_operation_of_the_contract_is_called() -> None:
    paths = yaml.safe_load(CONTRACT.read_text())["paths"]
    assert {operation(method.upper(), path) for path, methods in paths.items() for method in methods} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_contract_allows_the_request(
    hook: PortkeyHook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    requested = []
    for client_method, method in {
        "get": "GET",
        "post": "POST",
        "put": "PUT",
        "upload": "POST",
        "download": "GET",
    }.items():
        original = getattr(PortkeyClient, client_method)

        def request(self: Any, path: str, *args: Any, _send: Any = original, _method: str = method, **more: Any) -> Any:
            requested.append(operation(_method, path))
            return _send(self, path, *args, **more)

        monkeypatch.setattr(PortkeyClient, client_method, request)
    try:
        result = CALLS[name](hook, tmp_path)
    except PortkeyUnexpectedResponseError as error:
        # Prism makes the response up, and its job has another id.
        assert "is not about" in str(error), error
    else:
        assert name != "GET /models" or result[0], result[1]
    assert name in requested


LISTS = [each for each in vars(lists).values() if isinstance(each, ListSpec) and each.paging == "cursor"]


@pytest.mark.parametrize("list_spec", LISTS, ids=[each.kind for each in LISTS])
def test_the_contract_has_the_parameters_of_each_list(hook: PortkeyHook, list_spec: ListSpec) -> None:
    ids = {name: f"{name}_1" for name in re.findall(r"{(\w+)}", list_spec.path)}
    assert [item["id"] for item in hook.list(list_spec, ids, after="item_0")] == ["item_1"]
    declared = yaml.safe_load(CONTRACT.read_text())["paths"][f"/v1{list_spec.path}"]["get"]["parameters"]
    # The contract leaves out include, which the providers take.
    assert {*list_spec.parameters} - {"include"} == {each["name"] for each in declared if each["in"] == "query"}


JOBS = [
    (RUN, {"thread_id": THREAD, "run_id": RUN_ID}),
    *((job, {job.id_names[0]: "id_1"}) for job in (RESPONSE, BATCH, FINE_TUNING, LOG_EXPORT)),
]


@pytest.mark.parametrize(("job", "ids"), JOBS, ids=[job.kind for job, _ in JOBS])
def test_the_contract_allows_what_the_triggerer_requests(hook: PortkeyHook, job: JobSpec, ids: dict[str, str]) -> None:
    async def poll_and_cancel() -> None:
        async with open_client(hook.settings) as client:
            await client.get(job.path, ids)
            assert job.cancel_path
            await client.post(job.cancel_path, ids, job.cancel_body)

    asyncio.run(poll_and_cancel())


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        (lambda client: client.post(RUN.cancel_path, {"thread_id": THREAD, "run_id": RUN_ID}, {}), 415),
        (lambda client: client.post(RESPONSE.cancel_path, {"response_id": "resp_1"}), 422),
        (lambda client: client.post("/batches", {}, {"endpoint": 5}), 422),
        (lambda client: client.get("/threads/{thread_id}/runs", {"thread_id": THREAD}, [("order", "up")]), 422),
    ],
)
def test_other_requests_are_refused(hook: PortkeyHook, request_of: Callable[..., Any], status: int) -> None:
    with pytest.raises(PortkeyBadRequestError) as refused:
        request_of(hook.get_conn())
    assert refused.value.status_code == status
