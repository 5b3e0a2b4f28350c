"""Lines of logs and errors on the pages hold words of the package's messages; what others print is named here."""

from __future__ import annotations

import ast
import json
import re
from functools import cache

import pytest

from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.testing import PortkeyMockServer
from tests.docs.blocks import ROOT, Block, blocks

#: Letters that a line has in common with one message, at least.
_MIN_LENGTH = 8
#: What Airflow and the gateway print, as the pages show it.
FOREIGN = (
    "Pausing task as DEFERRED.",
    "[DAG TEST] running trigger in line",
    "AirflowNotFoundException: The conn_id",
    "ModuleNotFoundError: No module named",
    "TypeError: Invalid arguments were passed to",
    "**kwargs: {",
    "TypeError: missing keyword argument",
    "ValueError: Operator arg `poke_interval` must be",
    "UndefinedError: 'None' has no attribute",
    "Executor ... reported that the task instance",
    "Portkey refused (400): Invalid ",
    "Done. Returned value was",
)
#: What is before a status in brackets: who refused or failed.
_REFUSAL = re.compile(
    r"(^|\s)((Portkey|the provider behind Portkey) (refused|failed)"
    r"|the gateway could not reach the provider|refused the (Portkey API|provider) key) $"
)
#: Folders, rows and JSON: no messages.
_DATA = re.compile(r"^(\s*|s3://\S*|\s*[\w.=/*-]+(\s+#.*)?|\s*[\[{}\"|].*|\w+,\S+.*)$")


@cache
def words_of_messages() -> frozenset[str]:
    """The constant parts of all strings of the package."""
    found = set()
    for path in (ROOT / "airflow_provider_portkey").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {part.strip() for part in re.split(r"%[\w.()]+|\{[^}]*\}", node.value)}
    return frozenset(part for part in found if len(part) >= _MIN_LENGTH)


def is_known(line: str) -> bool:
    return any(part in line for part in words_of_messages())


@pytest.mark.parametrize("block", list(blocks("")), ids=str)
def test_a_line_is_one_of_the_packages_messages(block: Block) -> None:
    lines = [line for line in block.code.splitlines() if not _DATA.match(line)]
    own = [line for line in lines if not any(text in line for text in FOREIGN)]
    assert [line for line in own if not is_known(line)] == []


@pytest.mark.parametrize("page", ["troubleshooting", "reliability", "connection"])
def test_a_refusal_is_worded_as_the_client_words_it(page: str) -> None:
    for block in blocks("", ROOT / "docs" / f"{page}.md"):
        for line in block.code.splitlines():
            for found in re.finditer(r"([^.:']*)\((\d{3})\): (?!\.)", line):
                assert _REFUSAL.search(found[1]), f"{block}: {line}"


def test_the_sentences_about_a_connection_are_those_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [one for one in blocks("", ROOT / "docs" / "connection.md") if "Connected to" in one.code]
    sentences = []
    with PortkeyMockServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        sentences.append(PortkeyHook().test_connection()[1].replace(server.url, "http://127.0.0.1:8765/v1"))
        refusal = {"status": "failure", "message": "Portkey Error: Invalid API Key. Error Code: 03"}
        server.fault(status=401, body=refusal, path="*/models", times=None)
        sentences.append(PortkeyHook().test_connection()[1])
    assert block.code.splitlines() == sentences


def test_a_line_that_nobody_prints_is_noticed() -> None:
    assert not is_known("run 'run_1' was found to be finito after 2.2 s.")
    assert is_known("run 'run_1' (thread_id 'thread_1') changed from queued to in_progress after 2.2 s.")
