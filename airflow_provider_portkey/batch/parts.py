"""Requests in parts that a provider takes as one batch each, and beside each part the key columns of its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_portkey.batch.input import lines_of
from airflow_provider_portkey.batch.outcomes import request_id_of
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyLineInvalidError
from airflow_provider_portkey.export.atomic import atomic_write, check_destination, file_path, path_text, uri_of
from airflow_provider_portkey.export.jsonl import iter_objects
from airflow_provider_portkey.export.local_files import path_errors
from airflow_provider_portkey.json_values import strict_json

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Requests of one batch at most (OpenAI's reference of batches).
MAX_REQUESTS = 50_000
#: Bytes of one input file at most: OpenAI's reference says 200 MB.
MAX_BYTES = 200_000_000

_CHUNK_BYTES = 1024 * 1024


@dataclass
class _Part:
    """One part: its requests, and where its bytes end in the temporary files."""

    requests: int = 0
    end: int = 0
    keys_end: int = 0


class PartBuffer:
    """
    Collects requests on the worker's disk, and writes the parts when all requests are there.

    So a row that is refused leaves no file behind, and a killed worker neither: the temporary files have no names.

    :param max_requests: Requests of a part at most, ``None`` for any number.
    :param max_bytes: Bytes of a part at most.
    """

    def __init__(self, *, max_requests: int | None, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._parts: list[_Part] = []
        self._lines: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._keys: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.requests = 0

    def __enter__(self) -> PartBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._keys.close()

    def add(self, line: bytes, keys: bytes) -> None:
        """
        Add a request.

        :param line: With its line feed, not longer than a part may be.
        :param keys: The line of the file of keys, with its line feed.
        """
        part = self._parts[-1] if self._parts else self._begin()
        begun = self._parts[-2].end if len(self._parts) > 1 else 0
        if part.requests == self._max_requests or part.end - begun + len(line) > self._max_bytes:
            part = self._begin()
        self._lines.write(line)
        self._keys.write(keys)
        part.requests += 1
        part.end += len(line)
        part.keys_end += len(keys)
        self.requests += 1

    def write(
        self, path: str, conn_id: str | None, *, overwrite: bool, read: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """
        Write each part, its keys first, and return what the manifest says of the parts.

        :param path: Of the parts; a number is inserted before its ending.
        :param read: The URIs of what the task has read, which no part may be written over.
        :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off; none is written then.
        """
        self._lines.seek(0)
        self._keys.seek(0)
        names = [part_name(path, number) for number in range(1, len(self._parts) + 1)]
        files = [(file_path(name, conn_id), file_path(keys_name(name), conn_id)) for name in names]
        for file in (one for pair in files for one in pair):
            if uri_of(file) in read:
                raise PortkeyInvalidArgumentError("path", path, f"another name: the task reads {file}")
            check_destination(file, overwrite=overwrite)
        written = []
        begun = _Part()
        for (file, keys_file), part in zip(files, self._parts, strict=True):
            _write(self._keys, part.keys_end - begun.keys_end, keys_file, overwrite=overwrite)
            size, sha256 = _write(self._lines, part.end - begun.end, file, overwrite=overwrite)
            written.append(
                {
                    "input_path": path_text(file),
                    "uri": uri_of(file),
                    "keys_uri": uri_of(keys_file),
                    "requests": part.requests,
                    "bytes": size,
                    "sha256": sha256,
                }
            )
            begun = part
        return written

    def _begin(self) -> _Part:
        last = self._parts[-1] if self._parts else _Part()
        self._parts.append(_Part(0, last.end, last.keys_end))
        return self._parts[-1]


def keys_line(custom_id: str, keys: Mapping[str, Any]) -> bytes:
    """Return the line of the file of keys for a request."""
    return strict_json({"custom_id": custom_id, "keys": keys})[0].encode() + b"\n"


def part_name(path: str, number: int) -> str:
    """Return the path of a part: ``requests.jsonl`` becomes ``requests-00001.jsonl``."""
    return _with_stem(path, f"-{number:05d}")


def keys_name(path: str) -> str:
    """Return the path of the keys beside a part: ``requests-00001.keys.jsonl``."""
    return _with_stem(path, ".keys")


def iter_keys(input_path: str, conn_id: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Yield the ``custom_id`` and the key columns of each request of an input file, in its order.

    A file that no operator of this provider wrote has no keys beside it: its requests have a ``custom_id`` only.

    :raises PortkeyLineInvalidError: for a line without a ``custom_id``.
    """
    keys = _keys_file(input_path, conn_id)
    path = keys or file_path(input_path, conn_id, field="input_path")
    for row in iter_objects(lines_of(path), str(path)):
        yield _id_of(row, input_path), row["keys"] if keys and isinstance(row.get("keys"), dict) else {}


def iter_requests(input_path: str, conn_id: str | None) -> Iterator[tuple[str, bytes, bytes]]:
    """
    Yield the ``custom_id``, the line and the line of keys of each request of an input file, in its order.

    :raises PortkeyLineInvalidError: for a line without a ``custom_id``, and where the keys are of another file.
    """
    keys = _keys_file(input_path, conn_id)
    lines = filter(bytes.strip, lines_of(file_path(input_path, conn_id, field="input_path")))
    ids = iter_keys(input_path, conn_id) if keys else None
    for line, row in _parsed(lines, input_path):
        custom_id = _id_of(row, input_path)
        named, found = next(ids, (None, {})) if ids else (custom_id, {})
        if named != custom_id:
            raise PortkeyLineInvalidError(f"{keys} has {named!r} where {input_path} has {custom_id!r}.")
        yield custom_id, line + b"\n", keys_line(custom_id, found)


def _parsed(lines: Iterable[bytes], name: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    kept, read = tee(lines)
    return zip(kept, iter_objects(read, name), strict=True)


def _id_of(row: Mapping[str, Any], name: str) -> str:
    if (custom_id := request_id_of(row)) is None:
        raise PortkeyLineInvalidError(f"{name}: a request has no custom_id to find its outcome by.")
    return custom_id


def _keys_file(input_path: str, conn_id: str | None) -> ObjectStoragePath | None:
    """Return the file of keys beside an input file, ``None`` where there is none."""
    keys = file_path(keys_name(input_path), conn_id, field="input_path")
    with path_errors(keys, "read"):
        return keys if keys.exists() else None


def _with_stem(path: str, addition: str) -> str:
    folder, slash, name = path.rpartition("/")
    pure = PurePosixPath(name)
    return f"{folder}{slash}{pure.stem}{addition}{pure.suffix}"


def _write(source: IO[bytes], size: int, path: ObjectStoragePath, *, overwrite: bool) -> tuple[int, str]:
    with atomic_write(path, overwrite=overwrite) as written:
        while size and (chunk := source.read(min(size, _CHUNK_BYTES))):
            written.stream.write(chunk)
            size -= len(chunk)
    return written.bytes, written.sha256
