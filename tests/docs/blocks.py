"""The code blocks of the README and of the pages in ``docs/``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*|\{\w[\w-]*\}.*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """
    A block of a page.

    :param page: Its path below the repository.
    :param line: The line of its fence, from 1.
    :param language: What the fence says, empty for output.
    :param code: What is in it.
    """

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str, page: Path | None = None) -> Iterator[Block]:
    """Yield the blocks of a language, of one page or of all, in their order."""
    for path in PAGES if page is None else [page]:
        text = path.read_text()
        for found in _BLOCK.finditer(text):
            if found[1] == language:
                yield Block(str(path.relative_to(ROOT)), text[: found.start()].count("\n") + 1, language, found[2])
