"""
Airflow's UI in a browser, as a user sees it.

``--update-screenshots`` writes the pictures of the docs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.links import trace_id
from dev.processes import free_ports
from dev.standalone import USERNAME
from tests.e2e.waiting import succeed
from tests.hostile import HOSTILE_TEXTS

IMAGES = Path(__file__).parents[2] / "docs" / "images"
#: Milliseconds that Playwright waits for an element; a busy machine takes its time.
TIMEOUT = 60_000
#: Typed into the fields for JSON, key by key.
TYPED = {
    "provider": "openai",
    "provider_api_key": "sk-typed-in-the-form",
    "metadata": '{"team": "data", "quote":"a\\"b"}',
    "headers": '{"x-portkey-azure-resource-name":"prod"}',
    "query": '{"api-version":"2025-05-15"}',
}
BAD_KEY = {"status": "failure", "message": "Portkey Error: Invalid API Key. Error Code: 03"}


@pytest.fixture(scope="module")
def page(airflow, browser) -> Iterator[Any]:
    """A page of the UI, after the login by hand."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(airflow.url)
    page.fill("input[name=username]", USERNAME)
    page.fill("input[name=password]", airflow.password)
    page.click("button[type=submit]")
    page.wait_for_url(f"{airflow.url}/")
    yield page
    context.close()


@pytest.fixture
def picture(page, request) -> Callable[[str], None]:
    """Write a picture of the page for the docs, in light and dark, on request."""

    def picture(name: str) -> None:
        if request.config.getoption("--update-screenshots"):
            IMAGES.mkdir(exist_ok=True)
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)
                page.wait_for_function(f"document.documentElement.classList.contains('{scheme}')")
                page.screenshot(path=IMAGES / f"{name}-{scheme}.png", animations="disabled")

    return picture


@pytest.fixture(scope="module")
def typed(airflow, provider, page, request) -> Iterator[str]:
    """The id of a connection that was added by typing into the form."""
    conn_id = "portkey_typed"
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("input[name=connection_id]").press_sequentially(conn_id)
    form.get_by_role("combobox").click()
    page.keyboard.type("portkey")
    page.keyboard.press("Enter")
    form.locator("input[name=host]").press_sequentially(provider.url)
    form.locator("input[name=password]").press_sequentially("pk-typed-in-the-form")
    assert "Test button needs it" in form.locator("input[name=port]").get_attribute("placeholder")
    form.locator("input[name=port]").press_sequentially("443")
    form.get_by_text("Extra Fields", exact=True).click()
    for name, value in TYPED.items():
        form.locator(f"[name=element_{name}]").press_sequentially(value)
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
    yield conn_id
    airflow.api.call("PATCH", "/connections", {"actions": [{"action": "delete", "entities": [conn_id]}]})


def press_test(page, airflow, conn_id: str) -> str:
    """Press the Test button, and return what the UI says."""
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("row").filter(has_text=conn_id).get_by_role("button", name="Test Connection").click()
    toast = page.locator("[data-scope=toast][data-part=root]").last
    toast.wait_for()
    return toast.inner_text()


def stored(airflow, conn_id: str) -> dict[str, Any]:
    connection = airflow.api.get(f"/connections/{conn_id}")
    return {**connection, "extra": json.loads(connection["extra"])}


def test_a_connection_is_stored_as_it_was_typed(airflow, provider, typed, page, picture):
    found = stored(airflow, typed)
    assert (found["host"], found["port"], found["conn_type"]) == (provider.url, 443, "portkey")
    extra = {name: value for name, value in found["extra"].items() if value is not None}
    assert extra == {**TYPED, "provider_api_key": "***"}
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("row").filter(has_text=typed).get_by_role("button", name="Edit Connection").click()
    page.get_by_role("dialog").locator("input[name=host]").wait_for()
    picture("connection-form")


def test_an_edit_without_a_change_keeps_every_value(airflow, provider, typed, page):
    before = stored(airflow, typed)
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("row").filter(has_text=typed).get_by_role("button", name="Edit Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_text("Extra Fields", exact=True).click()
    field = form.locator("[name=element_metadata]")
    assert field.input_value() == TYPED["metadata"]
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
    assert stored(airflow, typed) == before
    assert "Test Connection Successful" in press_test(page, airflow, typed)
    (sent,) = provider.requests[-1:]
    assert sent.headers["x-portkey-api-key"] == "pk-typed-in-the-form"
    assert sent.headers["authorization"] == "Bearer sk-typed-in-the-form"
    assert json.loads(sent.headers["x-portkey-metadata"]) == {"team": "data", "quote": 'a"b'}


def test_the_test_button_says_what_is_wrong(airflow, provider, typed, page, picture):
    assert f"Connected to {provider.url}: it lists 1 model." in press_test(page, airflow, typed)
    picture("connection-test")
    provider.fault(status=401, body=BAD_KEY, path="*/models", times=None)
    refused = press_test(page, airflow, typed)
    assert "Test Connection Failed" in refused
    assert "Portkey refused the Portkey API key (401): Portkey Error: Invalid API Key" in refused
    provider.clear_faults()
    (port,) = free_ports(1)
    airflow.api.call("PATCH", f"/connections/{typed}", changed(airflow, typed, host=f"http://127.0.0.1:{port}/v1"))
    assert f"http://127.0.0.1:{port}/v1 cannot be reached" in press_test(page, airflow, typed)


def test_without_a_port_the_test_button_says_what_troubleshooting_names(airflow, provider, typed, page):
    airflow.api.call("PATCH", f"/connections/{typed}", changed(airflow, typed, host=provider.url, port=None))
    assert press_test(page, airflow, typed) == "Test Connection Failed\nBad Request"
    assert "`Test Connection Failed`, `Bad Request`" in (IMAGES.parent / "troubleshooting.md").read_text()


def changed(airflow, conn_id: str, **fields: Any) -> dict[str, Any]:
    connection = airflow.api.get(f"/connections/{conn_id}")
    return {name: value for name, value in connection.items() if name != "team_name"} | fields


@pytest.fixture(scope="module")
def reported(airflow, provider, page, tmp_path_factory, request) -> str:
    """The DAG run of the example that writes a report, triggered in the form; the model's output is hostile."""
    begin = 1_764_000_000
    forecast = {"name": "get_forecast", "arguments": '{"city": "Bern", "days": 3}', "output": '{"high": [9, 11, 8]}'}
    calls = [{"id": "call_1", "type": "function", "function": forecast}]
    hostile = [
        {"id": f"call_{name}", "type": "function", "function": {"name": text, "arguments": text, "output": text}}
        for name, text in HOSTILE_TEXTS.items()
        if name not in ("deep", "surrogate")  # which the mock server cannot send
    ]
    steps: list[dict[str, Any]] = [
        {"text": "I will look up the forecast."},
        {"type": "tool_calls", "step_details": {"type": "tool_calls", "tool_calls": calls}},
        {"type": "tool_calls", "step_details": {"type": "tool_calls", "tool_calls": hostile}},
        {"text": HOSTILE_TEXTS["end of elements"]},
        {"text": "In Bern, Saturday will be the warmest day, with 11 degrees."},
    ]
    for number, step in enumerate(steps):
        step |= {"created_at": begin + 6 * number, "completed_at": begin + 6 * number + 5}
    provider.add_run(thread_id="thread_ui", run_id="run_weather", statuses="completed", steps=steps, created_at=begin)
    airflow.wait_for_dag("portkey_run_report")
    page.goto(f"{airflow.url}/dags/portkey_run_report")
    page.get_by_role("button", name="Trigger").click()
    form = page.get_by_role("dialog")
    values = {"thread_id": "thread_ui", "run_id": "run_weather", "path": tmp_path_factory.mktemp("ui") / "run.html"}
    for name, value in values.items():
        form.locator(f"[name=element_{name}]").fill(str(value))
    shown = form.inner_text()
    for text in (
        "Thread",
        "The id of the run's thread",
        "Run",
        "The id of the run",
        "Page",
        "Where the page is written",
    ):
        assert text in shown
    form.get_by_role("button", name="Trigger").click()
    form.wait_for(state="hidden")
    path = "/dags/portkey_run_report/dagRuns"
    dag_runs = airflow.wait_for(lambda: airflow.api.get(path)["dag_runs"], "DAG run")
    dag_run_id: str = dag_runs[-1]["dag_run_id"]
    succeed(airflow, "portkey_run_report", dag_run_id)
    return dag_run_id


def tab(airflow, dag_run_id: str, name: str) -> str:
    return f"{airflow.url}/dags/portkey_run_report/runs/{dag_run_id}/tasks/report/{name}"


def test_the_trace_link_leads_to_the_tasks_trace(airflow, reported, page):
    page.goto(tab(airflow, reported, "details"))
    link = page.get_by_role("link", name="Portkey trace")
    expected = trace_id("portkey_run_report", reported, "report", -1, 1)
    url = f"https://app.portkey.ai/logs?trace_id={expected}"
    assert link.get_attribute("href") == url
    # The test follows the link without a request to Portkey.
    page.context.route("https://app.portkey.ai/**", lambda route: route.fulfill(body="Portkey's logs"))
    with page.context.expect_page() as opened:
        link.click()
    assert opened.value.url == url
    opened.value.get_by_text("Portkey's logs").wait_for()
    opened.value.close()
    page.context.unroute("https://app.portkey.ai/**")


def test_the_tab_shows_the_report_and_runs_nothing_of_it(airflow, reported, page, picture):
    foreign, dialogs = [], []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda sent: sent.url.removeprefix("blob:").startswith(airflow.url) or foreign.append(sent.url))
    page.goto(tab(airflow, reported, "details"))
    with page.expect_response("**/portkey/reports/**") as received:
        page.get_by_role("link", name="Portkey report").click()
    headers = received.value.headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Run run_weather").wait_for()
    picture("run-report")
    for step in report.locator("details.step").all():
        step.locator("summary").click()
    report.get_by_text("invoice\\u202efdp.exe").first.wait_for()
    assert report.get_by_text("<script>window.pwned = 1").count() > 0
    assert page.evaluate("window.pwned") is None
    assert (foreign, dialogs) == ([], [])
    if page.evaluate("document.title") == "pwned":
        pytest.fail("A script of the report ran.")


def test_a_task_without_a_report_says_so(airflow, reported, page):
    page.goto(tab(airflow, reported, "plugin/portkey-report").replace("/tasks/report/", "/tasks/wait_for_run/"))
    page.frame_locator("iframe").get_by_text("This task instance has no Portkey report.").wait_for()


def test_the_report_is_for_readers_who_are_logged_in(airflow, reported, browser):
    url = f"{airflow.url}/portkey/reports/portkey_run_report/{reported}/report/-1"
    context = browser.new_context()
    assert context.request.get(url).status == 401
    context.close()


def test_an_asset_event_shows_the_run_that_ended(airflow, provider, page, picture):
    airflow.wait_for_dag("on_run_finished")
    airflow.api.start_watchers("on_run_finished")
    provider.add_run(thread_id="thread_events", run_id="run_before_the_page")

    def event() -> bool:
        provider.add_run(thread_id="thread_events")
        time.sleep(1)
        return bool(airflow.api.get("/assets/events", name_pattern="finished_e2e_run")["asset_events"])

    airflow.wait_for(event, "asset event")
    (asset,) = airflow.api.get("/assets", name_pattern="finished_e2e_run")["assets"]
    page.goto(f"{airflow.url}/assets/{asset['id']}")
    page.locator(".codicon-folding-collapsed").first.click()  # the extra is shown folded
    page.get_by_text("payload").first.wait_for()
    picture("asset-event")
