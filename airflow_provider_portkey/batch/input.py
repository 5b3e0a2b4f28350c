"""Would a provider take this file for a batch? Asked before a byte is sent, for every line."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyBatchInputInvalidError
from airflow_provider_portkey.export.jsonl import read_object

#: Bad lines that an error names; it counts them all.
SHOWN = 20
#: Characters of a value that an error repeats.
_VALUE_SHOWN = 60


def check_batch_input(
    lines: Iterable[bytes], *, endpoint: str, name: str = "The input", max_requests: int | None = None
) -> int:
    """
    Check the input of a batch line by line and return how many requests it has.

    In memory stay sixteen bytes of each ``custom_id`` and the number of its line.

    :param lines: Each without its line end.
    :param endpoint: What each line's ``url`` must be.
    :param name: What the error calls the file.
    :param max_requests: Requests that the provider takes in one batch (OpenAI: 50,000); ``None`` for any number.
    :raises PortkeyBatchInputInvalidError: naming the first twenty bad lines, and counting all of them.
    """
    first_lines: dict[bytes, int] = {}
    problems: list[str] = []
    bad = number = 0
    for number, line in enumerate(lines, 1):
        wrong = _wrong(line, number, endpoint, first_lines)
        if wrong:
            bad += 1
            if bad <= SHOWN:
                problems.append(f"Line {number} {'; '.join(wrong)}.")
    if number == 0:
        raise PortkeyBatchInputInvalidError(f"{name} is empty: a batch needs one request at least. Nothing was sent.")
    if max_requests is not None and number > max_requests:
        raise PortkeyBatchInputInvalidError(
            f"{name} has {number} lines, more than max_requests={max_requests}. Nothing was sent.", bad_lines=bad
        )
    if bad:
        more = f" And {bad - SHOWN} more." if bad > SHOWN else ""
        raise PortkeyBatchInputInvalidError(
            f"{name}: {bad} of {number} lines {'is' if bad == 1 else 'are'} no request for {endpoint}. "
            f"Nothing was sent. {' '.join(problems)}{more}",
            problems=problems,
            bad_lines=bad,
        )
    return number


def digest(custom_id: str) -> bytes:
    """Return the sixteen bytes that stand for a ``custom_id``: even of a billion, no two are likely to be alike."""
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _wrong(line: bytes, number: int, endpoint: str, first_lines: dict[bytes, int]) -> list[str]:
    try:
        request = read_object(line, strict=True)
    except ValueError as error:
        return [str(error)]
    wrong = []
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id.strip():
        wrong.append(_but("custom_id", custom_id, "a string that is not empty"))
    elif (first := first_lines.setdefault(digest(custom_id), number)) != number:
        wrong.append(f"has the custom_id {_shown(custom_id)} of line {first} again")
    if request.get("method") != "POST":
        wrong.append(_but("method", request.get("method"), "'POST'"))
    if request.get("url") != endpoint:
        wrong.append(_but("url", request.get("url"), f"the batch's endpoint {endpoint!r}"))
    if not isinstance(request.get("body"), dict):
        wrong.append(_but("body", request.get("body"), "an object"))
    return wrong


def _but(field: str, value: Any, expected: str) -> str:
    return f"has no {field}" if value is None else f"has {field}={_shown(value)}, which must be {expected}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "..."
