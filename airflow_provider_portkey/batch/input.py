"""The input file of a batch: opened on this machine, and every line checked before a byte is sent."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_portkey.batch.index import IdIndex
from airflow_provider_portkey.exceptions import PortkeyBatchInputInvalidError
from airflow_provider_portkey.export.atomic import uri_of
from airflow_provider_portkey.export.jsonl import iter_objects, read_object, split_lines
from airflow_provider_portkey.export.local_files import path_errors
from airflow_provider_portkey.export.openlineage import report_lineage

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Bad lines that an error names; the error counts all of them.
_PROBLEMS_SHOWN = 20
#: Characters of a value that an error repeats.
_VALUE_SHOWN = 60
#: Bytes of a file that are read at once.
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class BatchInput:
    """
    A checked input file.

    :param file: Open for reading.
    :param uri: The URI of the file that the input was read from.
    :param requests: Number of requests.
    :param bytes: Size of the file.
    :param sha256: Hash of the content, in hexadecimal.
    :param inline: Whether the lines are ``{"custom_id", "params"}``, for the body of the request that creates a batch.
    """

    file: BinaryIO
    uri: str
    requests: int
    bytes: int
    sha256: str
    inline: bool = False

    def iter_requests(self) -> Iterator[dict[str, Any]]:
        """Yield the request on each line."""
        self.file.seek(0)
        return iter_objects(split_lines(read_chunks(self.file)), self.uri)


@contextmanager
def open_batch_input(
    path: ObjectStoragePath,
    *,
    endpoint: str,
    max_requests: int | None = None,
    mode: str = "file",
    check: bool = True,
) -> Iterator[BatchInput]:
    """
    Open the input of a batch and check every line.

    A remote file is copied to a temporary file of this machine first, so that the checked content is the uploaded one.

    :param endpoint: The endpoint of the lines.
    :param max_requests: Limit of requests, ``None`` for no limit.
    :param mode: ``"file"``, ``"inline"``, or ``"auto"``: inline where the first line has ``params`` and no ``url``.
    :param check: Whether to check the lines, rather than only count them.
    :raises PortkeyBatchInputInvalidError: naming the bad lines.
    :raises PortkeyPathError: where the file cannot be opened.
    """
    uri = uri_of(path)
    with ExitStack() as opened:
        with path_errors(path, "read"):
            opening = Path(path.path).open("rb") if uri.startswith("file://") else _copied(path)  # noqa: SIM115
            file = opened.enter_context(opening)
        content_hash = hashlib.sha256()
        size = 0

        def chunks() -> Iterator[bytes]:
            nonlocal size
            for chunk in read_chunks(file):
                content_hash.update(chunk)
                size += len(chunk)
                yield chunk

        report_lineage(path, inputs=[uri])
        lines = split_lines(chunks())
        first = list(islice(lines, 1))
        inline = mode == "inline" or (mode == "auto" and any(map(_is_inline, first)))
        requests = check_batch_input(
            chain(first, lines),
            endpoint=None if inline else endpoint,
            name=uri,
            max_requests=max_requests,
            check=check,
        )
        yield BatchInput(file, uri, requests, size, content_hash.hexdigest(), inline)


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file, a megabyte at a time."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def lines_of(path: ObjectStoragePath) -> Iterator[bytes]:
    """
    Yield the lines of a file.

    :raises PortkeyPathError: where the file cannot be read.
    """
    with path_errors(path, "read"), cast("Any", path).open("rb") as file:
        yield from split_lines(read_chunks(file))


def check_batch_input(
    lines: Iterable[bytes],
    *,
    endpoint: str | None,
    name: str = "The input",
    max_requests: int | None = None,
    check: bool = True,
) -> int:
    """
    Check the input of a batch line by line and return the number of requests.

    The ids are on the worker's disk: memory does not grow with the lines, unless they are bad.

    :param lines: Each without its line end.
    :param endpoint: The only ``url`` that a line may have; ``None`` for inline requests, which have ``params`` instead
        of ``method``, ``url`` and ``body``.
    :param name: The name of the file in errors.
    :param max_requests: Requests that the provider takes in one batch (OpenAI: 50,000); ``None`` for any number.
    :param check: Whether to check the lines, rather than only count them.
    :raises PortkeyBatchInputInvalidError: naming the first twenty bad lines, and counting all of them.
    """
    wrong: dict[int, list[str]] = {}
    bad: set[int] = set()
    number = 0
    with closing(IdIndex()) as ids:
        for number, line in enumerate(lines, 1):
            if check and (found := _wrong(line, number, endpoint, ids)):
                bad.add(number)
                if len(wrong) < _PROBLEMS_SHOWN:
                    wrong[number] = found
        for duplicate, first, custom_id in ids.duplicates():
            bad.add(duplicate)
            if duplicate <= max(sorted(wrong)[:_PROBLEMS_SHOWN], default=0) or len(wrong) < _PROBLEMS_SHOWN:
                wrong.setdefault(duplicate, []).insert(0, f"has the custom_id {shown(custom_id)} of line {first} again")
    problems = [f"Line {one} {'; '.join(wrong[one])}." for one in sorted(wrong)[:_PROBLEMS_SHOWN]]
    if number == 0:
        raise PortkeyBatchInputInvalidError(f"{name} is empty: a batch needs at least one request. Nothing was sent.")
    if max_requests is not None and number > max_requests:
        raise PortkeyBatchInputInvalidError(
            f"{name} has {number} lines, more than max_requests={max_requests}. Nothing was sent.", bad_lines=len(bad)
        )
    if bad:
        kind = f"request for {endpoint}" if endpoint else "inline request"
        more = f" And {len(bad) - _PROBLEMS_SHOWN} more." if len(bad) > _PROBLEMS_SHOWN else ""
        raise PortkeyBatchInputInvalidError(
            f"{name}: {len(bad)} of {number} lines {'is' if len(bad) == 1 else 'are'} no {kind}. "
            f"Nothing was sent. {' '.join(problems)}{more}",
            problems=problems,
            bad_lines=len(bad),
        )
    return number


@contextmanager
def _copied(path: ObjectStoragePath) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        with cast("Any", path).open("rb") as source:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
        file.seek(0)
        yield file


def _is_inline(line: bytes) -> bool:
    try:
        request = read_object(line)
    except ValueError:
        return False
    return "params" in request and "url" not in request


def _wrong(line: bytes, number: int, endpoint: str | None, ids: IdIndex) -> list[str]:
    """Return the problems of one line, and remember its ``custom_id``."""
    try:
        request = read_object(line, strict=True)
    except ValueError as error:
        return [str(error)]
    wrong = []
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id.strip():
        wrong.append(_but("custom_id", custom_id, "a string that is not empty"))
    else:
        ids.add(custom_id, number)
    if endpoint is None:
        if not isinstance(request.get("params"), dict):
            wrong.append(_but("params", request.get("params"), "an object"))
        return wrong
    if request.get("method") != "POST":
        wrong.append(_but("method", request.get("method"), "'POST'"))
    if request.get("url") != endpoint:
        wrong.append(_but("url", request.get("url"), f"the batch's endpoint {endpoint!r}"))
    if not isinstance(request.get("body"), dict):
        wrong.append(_but("body", request.get("body"), "an object"))
    return wrong


def _but(field: str, value: Any, expected: str) -> str:
    return f"has no {field}" if value is None else f"has {field}={shown(value)}, which must be {expected}"


def shown(value: Any) -> str:
    """Return a value as an error repeats it."""
    text = repr(value)
    return text if len(text) <= _VALUE_SHOWN else text[:_VALUE_SHOWN] + "..."
