from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.settings import ConnectionSettings
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.spec import JobSpec

BASE = "https://portkey.test/v1"
EMPTY = inspect.Parameter.empty
PAGE = {"limit": 20, "order": "desc", "after": None, "before": None}
ITERATE = {"page_size": 100, "order": "desc", "after": None, "max_items": None}


@pytest.mark.parametrize(
    ("method", "positional", "keyword_only"),
    [
        ("list_runs_page", {"thread_id": EMPTY, **PAGE}, {}),
        ("iter_runs", {"thread_id": EMPTY}, ITERATE),
        ("get_run", {"thread_id": EMPTY, "run_id": EMPTY}, {}),
        ("cancel_run", {"thread_id": EMPTY, "run_id": EMPTY}, {}),
        ("list_run_steps_page", {"thread_id": EMPTY, "run_id": EMPTY, **PAGE, "include": None}, {}),
        ("iter_run_steps", {"thread_id": EMPTY, "run_id": EMPTY}, {**ITERATE, "include": None}),
        ("get_run_step", {"thread_id": EMPTY, "run_id": EMPTY, "step_id": EMPTY, "include": None}, {}),
        ("iter_messages", {"thread_id": EMPTY}, {"run_id": None, **ITERATE}),
        ("test_connection", {}, {}),
    ],
)
def test_each_method_has_the_documented_parameters(
    method: str, positional: dict[str, Any], keyword_only: dict[str, Any]
) -> None:
    _, *parameters = inspect.signature(getattr(PortkeyHook, method)).parameters.values()

    before_star = {one.name: one.default for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD}
    after_star = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    assert list(before_star.items()) == list(positional.items())
    assert after_star.items() >= keyword_only.items()
    assert all(default is not EMPTY for default in after_star.values())


def test_the_class_attributes_that_airflow_reads() -> None:
    assert PortkeyHook.conn_type == "portkey"
    assert PortkeyHook.conn_name_attr == "portkey_conn_id"
    assert PortkeyHook.default_conn_name == "portkey_default"
    assert PortkeyHook.hook_name == "Portkey"
    assert PortkeyHook().portkey_conn_id == "portkey_default"
    assert PortkeyHook(portkey_conn_id="other").portkey_conn_id == "other"


@pytest.fixture
def read_ids(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the connections that were read, in order."""
    ids: list[str] = []
    read = PortkeyHook.get_connection

    def get_connection(conn_id: str) -> Any:
        ids.append(conn_id)
        return read(conn_id)

    monkeypatch.setattr(PortkeyHook, "get_connection", staticmethod(get_connection))
    return ids


def test_the_connection_is_read_once_and_at_the_first_request(
    portkey_connection: Any, requests_mock: Any, read_ids: list[str]
) -> None:
    requests_mock.get(f"{BASE}/threads/t/runs/r", json={"id": "r", "thread_id": "t", "status": "queued"})
    hook = PortkeyHook()
    iterator = hook.iter_runs("t")
    assert read_ids == []

    hook.get_run("t", "r")
    hook.get_run("t", "r")

    assert read_ids == ["portkey_default"]
    assert hook.get_conn() is hook.get_conn()
    assert inspect.isgenerator(iterator)


Call = Callable[[PortkeyHook], Any]
CALLS: list[tuple[str, str, list[tuple[str, str]], Call]] = [
    ("GET", "/threads/t/runs/r", [], lambda hook: hook.get_run("t", "r")),
    ("POST", "/threads/t/runs/r/cancel", [], lambda hook: hook.cancel_run("t", "r")),
    ("GET", "/threads/t/runs", [("limit", "20"), ("order", "desc")], lambda hook: hook.list_runs_page("t")),
    (
        "GET",
        "/threads/t/runs",
        [("limit", "5"), ("order", "asc"), ("after", "a"), ("before", "b")],
        lambda hook: hook.list_runs_page("t", 5, "asc", "a", "b"),
    ),
    (
        "GET",
        "/threads/t/runs/r/steps",
        [("limit", "20"), ("order", "desc")],
        lambda hook: hook.list_run_steps_page("t", "r"),
    ),
    (
        "GET",
        "/threads/t/runs/r/steps",
        [
            ("limit", "5"),
            ("order", "asc"),
            ("after", "a"),
            ("before", "b"),
            ("include[]", "x[*].y"),
            ("include[]", "z"),
        ],
        lambda hook: hook.list_run_steps_page("t", "r", 5, "asc", "a", "b", ["x[*].y", "z"]),
    ),
    ("GET", "/threads/t/runs/r/steps/s", [], lambda hook: hook.get_run_step("t", "r", "s")),
    (
        "GET",
        "/threads/t/runs/r/steps/s",
        [("include[]", "x[*].y"), ("include[]", "z")],
        lambda hook: hook.get_run_step("t", "r", "s", ["x[*].y", "z"]),
    ),
    ("GET", "/threads/t/messages/m", [], lambda hook: hook.get_message("t", "m")),
]


@pytest.mark.parametrize(("method", "path", "query", "call"), CALLS)
def test_each_call_sends_its_path_and_query_and_returns_the_response_unchanged(
    portkey_connection: Any, requests_mock: Any, method: str, path: str, query: list[tuple[str, str]], call: Call
) -> None:
    about = {"id": "r", "thread_id": "t", "status": "unheard of"}
    response = {"object": "anything", "data": [{"no": "id"}], "has_more": True, "unknown": {"deep": [None]}, **about}
    requests_mock.request(method, f"{BASE}{path}", json=response)

    assert call(PortkeyHook()) == response

    (request,) = requests_mock.request_history
    url = urlsplit(request.url)
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{BASE}{path}"
    assert parse_qsl(url.query) == query
    assert request.headers["OpenAI-Beta"] == "assistants=v2"


def test_the_query_of_the_connection_is_before_that_of_the_call(
    portkey_connection: Callable[..., None], requests_mock: Any
) -> None:
    portkey_connection(extra={"query": {"api-version": "2025-05-15-preview"}})
    requests_mock.get(f"{BASE}/threads/t/runs", json={})

    PortkeyHook().list_runs_page("t", limit=7)

    assert parse_qsl(urlsplit(requests_mock.last_request.url).query) == [
        ("api-version", "2025-05-15-preview"),
        ("limit", "7"),
        ("order", "desc"),
    ]


ITERATIONS: list[tuple[str, Callable[..., Any]]] = [
    ("/threads/t/runs", lambda hook, **arguments: hook.iter_runs("t", **arguments)),
    ("/threads/t/runs/r/steps", lambda hook, **arguments: hook.iter_run_steps("t", "r", **arguments)),
    ("/threads/t/messages", lambda hook, **arguments: hook.iter_messages("t", **arguments)),
]


@pytest.mark.parametrize(("path", "iterate"), ITERATIONS)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_each_iterator_yields_every_item_of_every_page(
    portkey_connection: Any, serve_list: Callable[..., Any], path: str, iterate: Callable[..., Any], order: str
) -> None:
    items = [{"id": f"item_{number}", "extra": {"n": number}} for number in range(145)]
    served = serve_list(path, items)

    found = list(iterate(PortkeyHook(), order=order, page_size=20))

    assert found == (items if order == "asc" else items[::-1])
    assert served.call_count == 8


@pytest.mark.parametrize(("path", "iterate"), ITERATIONS)
def test_each_iterator_starts_after_an_id_and_stops_at_max_items(
    portkey_connection: Any, serve_list: Callable[..., Any], path: str, iterate: Callable[..., Any]
) -> None:
    served = serve_list(path, [{"id": f"item_{number}"} for number in range(50)])

    found = list(iterate(PortkeyHook(), order="asc", after="item_9", max_items=12, page_size=10))

    assert [item["id"] for item in found] == [f"item_{number}" for number in range(10, 22)]
    assert [dict(parse_qsl(urlsplit(request.url).query))["limit"] for request in served.request_history] == ["10", "2"]


def test_run_id_is_sent_with_every_page_of_messages(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    served = serve_list("/threads/t/messages", [{"id": f"msg_{number}"} for number in range(5)])

    list(PortkeyHook().iter_messages("t", run_id="run_1", page_size=2))

    run_ids = [dict(parse_qsl(urlsplit(request.url).query)).get("run_id") for request in served.request_history]
    assert run_ids == ["run_1"] * 3


def test_include_is_sent_with_every_page_of_steps(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    served = serve_list("/threads/t/runs/r/steps", [{"id": f"step_{number}"} for number in range(5)])

    list(PortkeyHook().iter_run_steps("t", "r", page_size=3, include=["x[*].y"]))

    assert [("include[]", "x[*].y") in parse_qsl(urlsplit(r.url).query) for r in served.request_history] == [True] * 2


REFUSED: list[tuple[str, Call]] = [
    ("thread_id", lambda hook: hook.get_run("", "r")),
    ("run_id", lambda hook: hook.get_run("t", "..")),
    ("thread_id", lambda hook: hook.cancel_run(".", "r")),
    ("thread_id", lambda hook: hook.list_runs_page("..")),
    ("limit", lambda hook: hook.list_runs_page("t", limit=101)),
    ("before", lambda hook: hook.list_runs_page("t", before="")),
    ("thread_id", lambda hook: hook.iter_runs(None)),
    ("max_items", lambda hook: hook.iter_runs("t", max_items=-1)),
    ("run_id", lambda hook: hook.list_run_steps_page("t", "")),
    ("include", lambda hook: hook.list_run_steps_page("t", "r", include="x")),
    ("run_id", lambda hook: hook.iter_run_steps("t", "..")),
    ("order", lambda hook: hook.iter_run_steps("t", "r", order="newest")),
    ("step_id", lambda hook: hook.get_run_step("t", "r", "")),
    ("include", lambda hook: hook.get_run_step("t", "r", "s", include="x")),
    ("thread_id", lambda hook: hook.iter_messages("")),
    ("page_size", lambda hook: hook.iter_messages("t", page_size=0)),
    ("message_id", lambda hook: hook.get_message("t", "..")),
]


@pytest.mark.parametrize(("field", "call"), REFUSED)
def test_wrong_arguments_are_refused_at_the_call_before_any_request(
    portkey_connection: Any, requests_mock: Any, field: str, call: Call
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        call(PortkeyHook())

    assert requests_mock.call_count == 0


def test_an_empty_run_id_does_not_widen_the_list_of_messages() -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^run_id="):
        PortkeyHook().iter_messages("t", run_id="")


def test_a_pagination_loop_is_an_error(portkey_connection: Any, requests_mock: Any) -> None:
    page = {"data": [{"id": "run_1"}, {"id": "run_2"}], "has_more": True}
    requests_mock.get(f"{BASE}/threads/t/runs", json=page)

    with pytest.raises(exceptions.PortkeyPaginationError):
        list(PortkeyHook().iter_runs("t", page_size=2))

    assert requests_mock.call_count == 2


def test_secrets_in_a_response_that_is_no_list_are_not_shown(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(f"{BASE}/threads/t/runs", json={"data": [{"error": "bad key pk-test-secret"}]})

    with pytest.raises(exceptions.PortkeyUnexpectedResponseError) as raised:
        list(PortkeyHook().iter_runs("t"))

    assert "pk-test-secret" not in str(raised.value)


def test_a_kind_that_cannot_be_cancelled_is_an_error(portkey_connection: Any, requests_mock: Any) -> None:
    job = JobSpec(
        kind="export", path="/x/{id}", active_statuses=[], success_statuses=["done"], failure_statuses=["broken"]
    )

    with pytest.raises(ValueError, match=r"export cannot be cancelled"):
        PortkeyHook().cancel_job(job, {"id": "1"})

    assert requests_mock.call_count == 0


def test_a_poll_may_have_its_own_number_of_retries(
    portkey_connection: Any, requests_mock: Any, waits: list[float]
) -> None:
    from airflow_provider_portkey.jobs.run import RUN

    requests_mock.get(f"{BASE}/threads/t/runs/r", status_code=503)

    with pytest.raises(exceptions.PortkeyServerError):
        PortkeyHook().get_job(RUN, {"thread_id": "t", "run_id": "r"}, max_retries=1)

    assert requests_mock.call_count == 2


def test_settings_are_read_within_a_running_event_loop(portkey_connection: Any, read_ids: list[str]) -> None:
    hook = PortkeyHook()

    async def read_twice() -> tuple[ConnectionSettings, ConnectionSettings]:
        return await hook.aget_settings(), await hook.aget_settings()

    first, second = asyncio.run(read_twice())

    assert first is second is hook.settings
    assert first.base_url == BASE
    assert read_ids == ["portkey_default"]


def test_a_missing_connection_is_an_error_within_a_running_event_loop() -> None:
    with pytest.raises(Exception, match="portkey_nowhere"):
        asyncio.run(PortkeyHook("portkey_nowhere").aget_settings())


@pytest.mark.parametrize(
    "changes",
    [{"id": "other"}, {"id": None}, {"thread_id": "other"}, {"thread_id": None}, {"status": []}, {"status": {"a": 1}}],
)
def test_a_response_about_another_run_is_unexpected(
    portkey_connection: Any, requests_mock: Any, changes: dict[str, Any]
) -> None:
    run = {"id": "r", "thread_id": "t", "status": "completed", **changes}
    requests_mock.get(f"{BASE}/threads/t/runs/r", json=run)
    requests_mock.post(f"{BASE}/threads/t/runs/r/submit_tool_outputs", json=run)

    for call in (lambda hook: hook.get_run("t", "r"), lambda hook: hook.submit_tool_outputs("t", "r", [])):
        with pytest.raises(
            exceptions.PortkeyUnexpectedResponseError, match=r"^The response .* run 'r' \(thread_id 't'\)"
        ):
            call(PortkeyHook())
