"""What a test wants to go wrong, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

#: Where the files lie that signed URLs lead to. A fault strikes there only where its path says so.
STORAGE = "/_storage"


@dataclass
class Fault:
    """One thing that goes wrong, for as many requests as it is asked to.

    A fault with a ``status``, a ``body`` or ``disconnect`` takes the place of the true answer, and nothing
    happens in the world. Any other fault lets the call through and changes what comes back.

    :param status: the HTTP status; 200 where only a body is given.
    :param body: the body. A dict or a list is sent as JSON, a text or bytes as they are; with none, a status
        of 400 or more gets an error in the OpenAI shape.
    :param content_type: of the body; ``application/json`` or ``text/plain`` where not given.
    :param headers: more headers for the answer, a true one too: ``{"Retry-After": "1"}``.
    :param delay: seconds to wait before anything else happens; ends early when the mock server stops.
    :param disconnect: close the connection without an answer.
    :param cut_after: close the connection after this many bytes of the answer's body.
    :param ignore_after: answer as a server would that ignores ``after``: the first page again and again.
    :param merge: laid over the true answer's JSON object: ``{"has_more": True}``, ``{"last_id": "x"}``.
    :param method: only for requests of this HTTP method.
    :param path: only for requests with this path, as sent, with its ``/v1`` and without the query: a glob,
        whose ``*`` takes slashes too (``*/runs/run_1/steps``), or a compiled regular expression to find.
        Downloads by a signed URL are struck only by a fault with a path: ``/_storage/*``.
    :param times: how many requests it strikes; ``None`` for all of them.
    """

    status: int | None = None
    body: Any = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float | None = None
    disconnect: bool = False
    cut_after: int | None = None
    ignore_after: bool = False
    merge: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    path: str | re.Pattern[str] | None = None
    times: int | None = 1
    #: How many requests it has struck so far.
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status has to be 200 to 599, not {self.status}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times has to be at least 1, or None for ever, not {self.times}")

    @property
    def replaces_answer(self) -> bool:
        """Whether the true answer is not wanted at all."""
        return self.disconnect or self.status is not None or self.body is not None

    def strikes(self, method: str, path: str) -> bool:
        """Say whether a request is one that this fault is for, and is not used up."""
        if self.times is not None and self.struck >= self.times:
            return False
        if self.method is not None and self.method.upper() != method:
            return False
        if isinstance(self.path, str):
            return fnmatchcase(path, self.path)
        if self.path is None:
            return not path.startswith(STORAGE + "/")
        return self.path.search(path) is not None


class Faults:
    """The faults that are set, in the order they were set in."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Set a fault, behind those that are set already."""
        self._faults.append(fault)
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """Find the first fault that strikes a request, and count it as struck."""
        for fault in self._faults:
            if fault.strikes(method, path):
                fault.struck += 1
                return fault
        return None
