"""The requests of a batch: read from a file, or as many as a test wants."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from typing import Any, Protocol

from airflow_provider_portkey.testing.spool import Spool, Texts, spooled_lines

#: After so many errors a batch looks for no more.
_MOST_ERRORS = 10

_COUNTED = re.compile(r"request-([0-9]{6,})")


class BatchInput(Protocol):
    """Requests, by their numbers from 0."""

    def __len__(self) -> int: ...

    def request(self, number: int) -> tuple[str, str]:
        """Give the ``custom_id`` and the model of one request."""

    def places(self, custom_ids: frozenset[str]) -> dict[str, int]:
        """Say which requests have these ids."""


class CountedInput:
    """Requests that are alike: ``request-000001``, ``request-000002`` ... None of them is held.

    :param count: how many.
    :param endpoint: the path that they are for.
    """

    def __init__(self, count: int, endpoint: str) -> None:
        self._count = count
        self._endpoint = endpoint

    def __len__(self) -> int:
        return self._count

    def request(self, number: int) -> tuple[str, str]:
        return f"request-{number + 1:06d}", "mock-model"

    def places(self, custom_ids: frozenset[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for custom_id in custom_ids:
            counted = _COUNTED.fullmatch(custom_id)
            number = int(counted[1]) - 1 if counted else -1
            if 0 <= number < self._count and self.request(number)[0] == custom_id:
                found[custom_id] = number
        return found

    def lines(self) -> Iterator[bytes]:
        """Write the file that such requests would come from."""
        for number in range(self._count):
            custom_id, model = self.request(number)
            body = {"model": model, "messages": [{"role": "user", "content": f"Question {number + 1}."}]}
            line = {"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body}
            yield json.dumps(line).encode() + b"\n"


class FileInput:
    """Requests in a file on disk: read through once, and only their ids and models are kept.

    :param spool: the file.
    :param endpoint: the path that every request has to be for.
    """

    def __init__(self, spool: Spool, endpoint: str) -> None:
        self._endpoint = endpoint
        self._custom_ids = Texts()
        self._models: dict[str, int] = {}
        self._model_numbers = array("L")
        #: What is wrong with the file, the way that a batch reports it; the first few things.
        self.errors: list[dict[str, Any]] = []
        # Hashes take a fraction of what the ids would.
        seen: set[int] = set()
        for number, raw in enumerate(spooled_lines(spool), start=1):
            code, message = self._read(raw, seen)
            if code:
                self.errors.append(_error(code, message, number))
                if len(self.errors) == _MOST_ERRORS:
                    break
        self._model_names = list(self._models)
        if not self.errors and not len(self):
            self.errors.append(_error("empty_file", "The input file has no requests.", None))

    def __len__(self) -> int:
        return len(self._custom_ids)

    def request(self, number: int) -> tuple[str, str]:
        return self._custom_ids[number], self._model_names[self._model_numbers[number]]

    def places(self, custom_ids: frozenset[str]) -> dict[str, int]:
        if not custom_ids:
            return {}
        named = ((self._custom_ids[number], number) for number in range(len(self)))
        return {custom_id: number for custom_id, number in named if custom_id in custom_ids}

    def _read(self, raw: bytes, seen: set[int]) -> tuple[str, str]:
        try:
            line = json.loads(raw)
        except ValueError:
            return "invalid_json_line", "This line is not parseable as valid JSON."
        if not isinstance(line, dict) or not isinstance(line.get("custom_id"), str):
            return "missing_required_parameter", "The 'custom_id' is missing."
        custom_id, body = line["custom_id"], line.get("body")
        if line.get("url") != self._endpoint:
            return "mismatched_endpoint", f"The 'url' has to be '{self._endpoint}'."
        if not isinstance(body, dict):
            return "missing_required_parameter", "The 'body' is missing."
        if hash(custom_id) in seen:
            return "duplicate_custom_id", f"The custom_id '{custom_id}' is there twice."
        seen.add(hash(custom_id))
        self._custom_ids.append(custom_id)
        model = str(body.get("model", "mock-model"))
        self._model_numbers.append(self._models.setdefault(model, len(self._models)))
        return "", ""


def _error(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}
