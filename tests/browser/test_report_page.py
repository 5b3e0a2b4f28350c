"""Reports in a browser: whatever a model wrote stays text, also where nothing but the escaping protects the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.report.batch import BatchReport
from airflow_provider_portkey.report.page import render
from airflow_provider_portkey.report.run import RunReport
from tests.hostile import HOSTILE_TEXTS

pytestmark = pytest.mark.slow

BEGIN = 1_800_000_000


def run_report(count: int = 0) -> RunReport:
    steps: list[dict[str, Any]] = []
    for number, text in enumerate(HOSTILE_TEXTS.values()):
        function = {"name": text, "arguments": text, "output": text}
        calls = [{"type": "function", "function": function}]
        at = {"created_at": BEGIN + number, "completed_at": BEGIN + number + 1}
        error = {"code": text, "message": text}
        steps.append({**at, "id": text, "type": text, "status": text, "message_text": text, "last_error": error})
        steps.append({**at, "id": text, "type": "tool_calls", "step_details": {"tool_calls": calls}})
    steps += [{"created_at": BEGIN + n, "type": "message_creation", "message_text": str(n)} for n in range(count)]
    text = HOSTILE_TEXTS["end of elements"]
    return RunReport({"id": text, "status": text, "model": text, "created_at": BEGIN}, steps, cost=None)


def batch_report() -> BatchReport:
    texts = HOSTILE_TEXTS.values()
    rows = [{"custom_id": t, "status": "failed", "error_code": t, "error_message": t, "model": t} for t in texts]
    return BatchReport({"id": HOSTILE_TEXTS["script"], "endpoint": HOSTILE_TEXTS["handler"]}, rows)


@pytest.fixture
def opened(browser, tmp_path) -> Any:
    """Open bytes as a file, and note what the page does beside being shown."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    noted: list[str] = []
    page.on("dialog", lambda dialog: (noted.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("console", lambda message: noted.append(f"console {message.text}"))
    page.on("request", lambda request: noted.append(f"request {request.url}") if request.url != page.url else None)
    page.on("framenavigated", lambda frame: noted.append(f"frame {frame.url}"))

    def open_page(content: bytes) -> tuple[Any, list[str]]:
        path: Path = tmp_path / "report.html"
        path.write_bytes(content)
        page.goto(f"file://{path}")
        assert noted[0] in (f"request file://{path}", f"frame file://{path}")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        for element in page.locator("details.step, td, h1").all()[:20]:
            element.hover()
        own = {f"request file://{path}", f"frame file://{path}"}
        return page, [each for each in noted if each not in own]

    yield open_page
    context.close()


def without_policy(page: bytes) -> bytes:
    without = re.sub(rb"<meta http-equiv[^>]*>", b"", page)
    assert without != page
    return without


@pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "without its policy"])
@pytest.mark.parametrize("make", [run_report, batch_report])
def test_hostile_text_stays_text(opened, make: Callable[[], Any], policy: bool) -> None:
    content = b"".join(render(make()))
    page, noted = opened(content if policy else without_policy(content))
    assert noted == []
    assert page.evaluate("window.pwned") is None
    assert page.title() != "pwned"
    assert page.locator("script, iframe, img, a, link, base, form, object, embed, foreignObject").count() == 0
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    # Nothing lies over the page or reaches beyond its width.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "invoice\\u202efdp.exe" in page.content()


def test_the_policy_stops_a_script_that_got_in(opened) -> None:
    injected = b"<script>window.pwned = 1</script><img src='http://127.0.0.1:9/x' onerror='window.pwned = 2'></main>"
    page, noted = opened(b"".join(render(run_report())).replace(b"</main>", injected))
    assert page.evaluate("window.pwned") is None
    assert any("Content Security Policy" in each for each in noted)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(opened, scheme: str) -> None:
    page, _ = opened(b"".join(render(run_report())))
    page.emulate_media(color_scheme=scheme)

    def brightness(name: str) -> float:
        color = page.evaluate(f"getComputedStyle(document.body).{name}")
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    text, background = brightness("color"), brightness("backgroundColor")
    assert abs(text - background) > 150
    assert (text < background) == (scheme == "light")


@pytest.mark.parametrize("width", [1100, 390])
def test_tables_and_charts_can_be_read_at_the_width_of_a_screen_and_of_a_phone(opened, width: int) -> None:
    usage = {"input_tokens": 1_234_567, "output_tokens": 1_234_567}
    rows = [
        {
            "custom_id": str(n),
            "status": status,
            "error_code": "server_error",
            "model": "gpt-4.1-mini",
            **usage,
            "finish_reason": "stop",
        }
        for n, status in enumerate(("succeeded", "failed"))
    ]
    page, _ = opened(b"".join(render(BatchReport({"id": "batch_1", "created_at": BEGIN}, rows))))
    page.set_viewport_size({"width": width, "height": 900})
    name = page.get_by_role("cell", name="gpt-4.1-mini").bounding_box()
    assert name["height"] < 40, "the name of the model is broken into letters"
    assert page.locator("svg.chart").first.bounding_box()["width"] >= 640
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_five_thousand_steps_open_in_parts(opened) -> None:
    page, noted = opened(b"".join(render(run_report(5_000))))
    assert noted == []
    assert page.locator("details.step").count() == 5_000 + 2 * len(HOSTILE_TEXTS)
    assert page.locator("details.part").count() == -(-(5_000 + 2 * len(HOSTILE_TEXTS)) // 50)
