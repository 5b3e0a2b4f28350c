"""Docs, names, docstrings, comments and messages use the field's words: the retired ones stay out."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What is written in place of a retired word, and the pattern of the retired one.
RETIRED = {
    "poll, check": r"\blook(s|ed|ing)?\b(?! up)(?!-up)(?! like)",
    "request": r"\bask(s|ed|ing)?\b",
    "response": r"\banswer(s|ed|ing)?\b",
    "attempt, retry": r"\btr(ied|ies|ying) again\b|\bsurely\b",
    "chunk": r"\bpieces?\b",
    "timestamp, point in time": r"\bmoments?\b",
    "active, continues": r"\bgo(es|ing|ne)? on\b|\bstill going\b",
    "succeeded, failed": r"\bend(s|ed)? (well|badly)\b|\bended_(well|badly)\b|\bbad ends?\b",
    "requires action": r"\bwait(s|ing)?[ _]for[ _](its[ _]|the[ _])?caller\b",
    "idempotency key": r"\bmarkers?\b",
    "task state, asset state": r"\b(ledger|keeper|record place|book)s?\b",
    "carried over": r"\bpicked[ _]up\b",
    "atomic write": r"\bland(s|ed|ing)?\b|\baside\b",
    "mock server": r"\bstand[ -]?ins?\b|\b(building|desk|world)s?\b|\brooms\b",
    "scenario, timeline": r"\bof course\b|\bcourses?\b",
    "fix": r"\bcures?\b",
    "emitted": r"\btold\b",
    "shared polling": r"\b(company|companies|taken along|roll[ _-]?call|in step)\b",
    "deliver, pass": r"\b(parcels?|hand(ed|ing)?[ -]?over)\b",
    "excluded": r"\bbulky\b",
}
#: Names of other software that hold a retired word: options of pytest.
_FOREIGN = re.compile(r"--strict-markers|^markers = |\badd marker\b")
_PATTERNS = {better: re.compile(pattern, re.IGNORECASE) for better, pattern in RETIRED.items()}

_FILES = subprocess.run(
    ["git", "ls-files", "-z", "*.md", "*.py", "*.toml"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split("\0")
FILES = [name for name in _FILES if name and (ROOT / name).exists() and Path(name) != Path(__file__).relative_to(ROOT)]


def _words(name: str) -> Iterator[tuple[int, str]]:
    """Yield what people read in a file, with the number of its line; names with spaces between their words."""
    text = (ROOT / name).read_text()
    if not name.endswith(".py"):
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT):
            for number, line in enumerate(token.string.splitlines(), token.start[0]):
                yield number, re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", line)


@pytest.mark.parametrize("name", FILES)
def test_no_retired_word(name: str) -> None:
    found = [
        f"{name}:{number}: {match[0]!r}, write: {better}"
        for number, line in _words(name)
        for better, pattern in _PATTERNS.items()
        if (match := pattern.search(_FOREIGN.sub("", line)))
    ]
    assert not found, "\n".join(found)
