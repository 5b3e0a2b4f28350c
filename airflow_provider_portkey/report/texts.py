"""Texts of models and servers as a page shows them: bounded, and without characters that mislead a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

#: Characters of one text on a page; the number of those left out follows the text.
MAX_CHARACTERS = 2_000
#: Bytes of all texts of one page, as they are in the file.
MAX_TEXT_BYTES = 4_000_000
#: Characters of JSON in a string that is indented; a longer string stays as it is.
_MAX_JSON = 100_000
#: Control characters, halves of surrogate pairs, marks that turn the direction of text, and invisible characters.
#: Joiners stay: emoji and scripts of India need them.
_RANGES = (
    "\0-\x08 \x0b-\x1f \x7f-\x9f \xad-\xad \u061c-\u061c \u180e-\u180e \u200b-\u200b \u200e-\u200f \u2028-\u202e "
    "\u2060-\u206f \ufeff-\ufeff \ufff9-\ufffb \ud800-\udfff \U000e0000-\U000e007f"
)
_MISLEADING = re.compile(f"[{_RANGES.replace(' ', '')}]")
_ESCAPES = {
    code: f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    for span in _RANGES.split(" ")
    for code in range(ord(span[0]), ord(span[-1]) + 1)
}


@dataclass(frozen=True)
class Excerpt:
    """
    The beginning of a text.

    :param text: As the page shows it.
    :param omitted: Characters of the whole text that are not shown.
    """

    text: str
    omitted: int = 0


class Texts:
    """
    Makes the excerpts of one page, and keeps them within the page's limit.

    :param max_bytes: Bytes of all excerpts and labels, in UTF-8 and escaped as HTML.
    """

    def __init__(self, max_bytes: int = MAX_TEXT_BYTES) -> None:
        self._remaining = max_bytes
        #: Texts that found no room.
        self.without_room = 0

    def excerpt(self, value: Any) -> Excerpt | None:
        """Return a value of JSON as a text with its beginning; ``None`` for an empty value."""
        text = _text_of(value)
        if not text:
            return None
        beginning = text[:MAX_CHARACTERS]
        # A character has at least one byte: where even that is too much, nothing is escaped in vain.
        visible = readable(beginning) if len(beginning) <= self._remaining else beginning
        if len(beginning) > self._remaining or not self.take(_size(visible)):
            self.without_room += 1
            return Excerpt("", len(text))
        return Excerpt(visible, max(0, len(text) - MAX_CHARACTERS))

    def label(self, value: Any, limit: int = 120) -> str:
        """Return what :func:`label` returns, and a sign of omission where the page is full."""
        text = label(value, limit)
        return text if self.take(_size(text)) else "…"

    def take(self, size: int) -> bool:
        """Return whether the page has room for so many bytes, which it then has no more."""
        if size > self._remaining:
            return False
        self._remaining -= size
        return True


def readable(text: str) -> str:
    r"""Return a text with the escape of each misleading character in its place, such as ``\u202e``."""
    text = text.replace("\r\n", "\n")
    # To translate is the quickest where there are many, and slow where there are none.
    return text.translate(_ESCAPES) if _MISLEADING.search(text) else text


def label(value: Any, limit: int = 120) -> str:
    """
    Return a value of JSON as a short text on one line, an empty one for ``None``.

    :param limit: Characters.
    """
    text = value if isinstance(value, str) else "" if value is None else _dumped(value)
    line = " ".join(readable(text[: 2 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _size(text: str) -> int:
    return len(str(escape(text)).encode())


def _text_of(value: Any) -> str:
    """Return a text, indented where it is JSON."""
    if value is None or value in ("", [], {}):
        return ""
    if not isinstance(value, str):
        return _dumped(value)
    if value[:1] in ("{", "[") and len(value) <= _MAX_JSON:
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return _dumped(parsed) if isinstance(parsed, Mapping | list) else value
    return value


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except RecursionError:
        return "(nested too deeply to be shown)"
