"""The folder of one interval's export: what its files are called, and what may stay there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

MANIFEST = "_manifest.json"

#: Characters of a name that stands for an id. File systems hold 255, and a file on its way has some more.
_LONGEST_NAME = 180
_SUFFIX_OF_COMPRESSION = {"gzip": ".gz", "zstd": ".zst"}
#: What an export may have written, in whichever format it was done before.
_OURS = re.compile(r"[^_.].*\.(jsonl|json|csv|parquet)(\.gz|\.zst)?")


def folder_path(value: str, conn_id: str | None, *, field: str = "path") -> ObjectStoragePath:
    """
    Return the folder that a template has filled in.

    :raises PortkeyInvalidArgumentError: where it names none.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    folder = str(value).strip().rstrip("/")
    if not folder or folder.endswith(":"):
        raise PortkeyInvalidArgumentError(field, value, "a folder, such as s3://bucket/steps")
    return ObjectStoragePath(folder, conn_id=conn_id)


def stamp(moment: datetime) -> str:
    """Return a moment in UTC as it stands in names: without characters that a URL or a file system minds."""
    return moment.strftime("%Y%m%dT%H%M%SZ")


def file_name(name: str, file_format: str, compression: str | None) -> str:
    """
    Return the name of the file for an id, whatever characters that has.

    No such name begins with ``_`` or ``.``, which readers of partitions pass over.
    """
    quoted = quote(name, safe="")
    if quoted[0] in "_.":
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted) > _LONGEST_NAME:
        quoted = f"{quoted[: _LONGEST_NAME - 33]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    suffix = "" if file_format == "parquet" else _SUFFIX_OF_COMPRESSION.get(compression or "", "")
    return f"{quoted}.{file_format}{suffix}"


def sweep(folder: ObjectStoragePath, *, prefix: str = "") -> None:
    """Remove what processes that were killed have left of files on their way: on a local file system, hidden."""
    for path in _entries(folder):
        if path.name.startswith(f".{prefix}") and path.name.endswith(".part"):
            _remove(path)


def keep_only(folder: ObjectStoragePath, wanted: Callable[[str], bool]) -> None:
    """Remove files of earlier exports that are not wanted any more; what others have put there stays."""
    for path in _entries(folder):
        if _OURS.fullmatch(path.name) and not wanted(path.name):
            _remove(path)


def _entries(folder: ObjectStoragePath) -> Iterator[Any]:
    try:
        yield from list(cast("Any", folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def _remove(path: Any) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
