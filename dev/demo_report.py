"""What the demo prints at its end: what happened, and the steps in the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dev.demo_run import WAIT_TASK, Observed
from dev.steps import StepFailedError


def read_steps(manifest: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """
    Return the rows of the file, checked against the manifest that the exporting task returned.

    :raises StepFailedError: They disagree.
    """
    content = path.read_bytes()
    rows = [json.loads(line) for line in content.splitlines()]
    found = {"rows": len(rows), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    stated = {name: manifest.get(name) for name in found}
    if found != stated:
        raise StepFailedError(f"{path} is not what the manifest says: {found}, not {stated}.")
    return rows


def print_report(
    console: Console, *, observed: Observed, manifest: dict[str, Any], rows: list[dict[str, Any]], path: Path
) -> None:
    """
    Print what happened.

    :param console: Where to.
    :param observed: The states that the tasks were seen in.
    :param manifest: What the exporting task returned.
    :param rows: The file's rows.
    :param path: The file.
    """
    table = Table(title=f"The steps in {path.name}", title_justify="left")
    for heading in ("#", "step", "type", "status", "seconds", "what"):
        table.add_column(heading, justify="right" if heading in ("#", "seconds") else "left", no_wrap=heading != "what")
    for number, row in enumerate(rows, start=1):
        cells = (number, row.get("id"), row.get("type"), row.get("status"), _seconds(row), _what(row))
        table.add_row(*(str(cell or "") for cell in cells))
    console.print()
    console.print(table)
    console.print()
    for name, value in (
        ("waiting", _waiting(observed)),
        ("states seen", " -> ".join(observed.states.get(WAIT_TASK, []))),
        ("run", f"{manifest['run_id']} of thread {manifest['thread_id']}: {manifest['run_status']}"),
        ("rows exported", f"{manifest['rows']} in {manifest['pages']} page(s), {manifest['bytes']} bytes"),
        ("sha256", f"{manifest['sha256']} (the same in the file and in XCom)"),
        ("file", str(path)),
    ):
        # Whole on any terminal, for a path and a hash are there to be copied.
        console.print(f"{name.ljust(14)} {value}", soft_wrap=True, markup=False)


def _waiting(observed: Observed) -> str:
    if observed.deferred_at is None:
        return "the task was never seen as deferred: the run had ended at its first poll"
    if observed.resumed_at is None:
        return "the task deferred, and was not seen to resume"
    seconds = observed.resumed_at - observed.deferred_at
    return f"the task deferred, left its worker slot for {seconds:.0f} s, and was resumed by the triggerer"


def _seconds(row: dict[str, Any]) -> str:
    begin, end = row.get("created_at"), row.get("completed_at")
    return f"{end - begin:g}" if isinstance(begin, (int, float)) and isinstance(end, (int, float)) else ""


def _what(row: dict[str, Any]) -> str:
    """Return the message's text, or the names of the tools that were called."""
    text = row.get("message_text")
    if isinstance(text, str):
        return text if len(text) <= 60 else f"{text[:57]}..."
    calls = (row.get("step_details") or {}).get("tool_calls") or []
    return ", ".join(str((call.get("function") or {}).get("name") or call.get("type")) for call in calls)
