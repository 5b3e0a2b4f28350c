from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from airflow_provider_portkey.report.page import FIRST_BYTES, content_security_policy, render_message
from tests.hostile import HOSTILE_TEXTS

#: Elements that a page may have, and attributes that may hold no address and no code.
ELEMENTS = """html head meta title style body main header h1 h2 h3 bdi span dl div dt dd ul li section p code pre
details summary table tr th td i svg defs rect path text"""
ATTRIBUTES = """lang data-portkey-report charset http-equiv content name class dir open role aria-label xmlns
xmlns:xlink width height viewbox x y d font-size text-anchor"""


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attributes) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attributes}


@pytest.fixture
def hostile_page(report, step, call, page_of) -> str:
    steps = []
    for number, text in enumerate(HOSTILE_TEXTS.values()):
        error = {"code": text, "message": text}
        steps.append(step(number, id=text, status=text, message_text=text, last_error=error, usage=text))
        steps.append(step(number, **call(name=text, arguments=text, output=text)))
        steps.append(step(number, type=text, step_details={text: text}))
    text = HOSTILE_TEXTS["end of elements"]
    error = {"code": text, "message": text}
    return page_of(report(steps, id=text, status=text, thread_id=text, model=text, last_error=error))


def test_hostile_text_adds_neither_elements_nor_attributes(hostile_page):
    found = Elements()
    found.feed(hostile_page)
    assert found.elements <= set(ELEMENTS.split())
    assert found.attributes <= set(ATTRIBUTES.split())


def test_the_policy_allows_the_style_sheet_and_nothing_else(hostile_page):
    (style,) = re.findall("<style>(.*?)</style>", hostile_page, re.DOTALL)
    expected = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = content_security_policy(hostile_page.encode())
    assert policy == f"default-src 'none'; style-src 'sha256-{expected}'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"'.replace("'", "&#39;") in hostile_page


def test_a_report_begins_as_the_tab_expects(hostile_page):
    assert hostile_page.encode().startswith(FIRST_BYTES)
    assert not render_message("x").startswith(FIRST_BYTES)


def test_a_message_is_escaped():
    assert b"&lt;script&gt;" in render_message("<script>\u202e")
