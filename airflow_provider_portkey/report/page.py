"""The page: a template and a report become one HTML file, whose policy allows its own style sheet and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from airflow_provider_portkey.export.atomic import atomic_write
from airflow_provider_portkey.report.figures import format_cost
from airflow_provider_portkey.report.texts import readable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.atomic import WrittenFile

#: The first bytes of every report: the tab in Airflow's UI shows no other file.
FIRST_BYTES = b'<!doctype html>\n<html lang="en" data-portkey-report="1">'
#: Bytes of a report at most: twice its texts, and 600 for each step that is listed.
MAX_BYTES = 16 * 1024 * 1024

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)


class Report(Protocol):
    """What a page shows: a template, and the attributes that the template reads."""

    template: str


def write_page(report: Report, path: ObjectStoragePath, *, overwrite: bool) -> WrittenFile:
    """
    Write a report; the same report has the same bytes.

    :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
    :raises PortkeyPathError: where the file cannot be written.
    """
    with atomic_write(path, overwrite=overwrite) as written:
        for chunk in render(report):
            written.stream.write(chunk)
    return written


def render(report: Report) -> Any:
    """Yield the bytes of a page."""
    template = _environment().get_template(report.template)
    stream = template.stream(report=report)
    stream.enable_buffering(64)
    for chunk in stream:
        yield chunk.encode()


def render_message(text: str) -> bytes:
    """Return a page with one sentence."""
    return _environment().get_template("message.html").render(text=readable(text)).encode()


def content_security_policy(page: bytes) -> str:
    """Return the policy of a page: its own style sheet, and neither scripts, requests, forms nor frames."""
    found = _STYLE.search(page)
    style = found[1] if found else b""
    return f"default-src 'none'; style-src 'sha256-{_hash(style)}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (_TEMPLATES / "report.css").read_text().strip()
    environment.globals |= {
        "style": Markup(style),  # noqa: S704 (a file of this package)
        "policy": content_security_policy(f"<style>{style}</style>".encode()),
    }
    environment.filters |= {"svg": Markup, "dollars": format_cost}
    return environment


def _hash(style: bytes) -> str:
    return base64.b64encode(hashlib.sha256(style).digest()).decode()
