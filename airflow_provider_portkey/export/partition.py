"""The folder of one window's export: names of its files, and removal of files that are not part of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.atomic import LOCAL_PROTOCOLS, check_folder, check_path_text, open_path
from airflow_provider_portkey.export.local_files import path_errors, remove_parts

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

MANIFEST = "_manifest.json"

#: Characters of an id in a file name. File systems allow 255 bytes; suffixes and temporary names need some of them.
_LONGEST_NAME = 180
_SUFFIX_OF_COMPRESSION = {"gzip": ".gz", "zstd": ".zst"}
#: Names of files that an export may have written, in any format.
_OURS = re.compile(r"[^_.].*\.(jsonl|json|csv|parquet)(\.gz|\.zst)?")


def folder_path(value: str, conn_id: str | None, *, field: str = "path") -> ObjectStoragePath:
    """
    Return the path of a folder, given the value of a parameter after rendering.

    :param conn_id: The Airflow connection to the object store, if the store needs one.
    :param field: The name of the parameter, for the error.
    :raises PortkeyInvalidArgumentError: where the value is no path of a folder.
    """
    folder = check_path_text(value, field=field).strip().rstrip("/")
    if not folder or folder.endswith(":"):
        raise PortkeyInvalidArgumentError(field, value, "a folder, such as s3://bucket/steps")
    return open_path(folder, conn_id)


def stamp(timestamp: datetime) -> str:
    """Return a timestamp in UTC for names of files: without characters that URLs or file systems reserve."""
    return timestamp.strftime("%Y%m%dT%H%M%SZ")


def file_name(name: str, file_format: str, compression: str | None) -> str:
    """
    Return the name of the file for an id with any characters.

    No such name begins with ``_`` or ``.``: readers of partitions ignore those names.
    """
    quoted = quote(name, safe="")
    if quoted[0] in "_.":
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted) > _LONGEST_NAME:
        quoted = f"{quoted[: _LONGEST_NAME - 33]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    suffix = "" if file_format == "parquet" else _SUFFIX_OF_COMPRESSION.get(compression or "", "")
    return f"{quoted}.{file_format}{suffix}"


def sweep(folder: ObjectStoragePath, *, name: str | None = None) -> None:
    """
    Remove the temporary files of killed processes, which only a local file system has beside the destination.

    :param name: Only those of the file with this name.
    """
    if folder.protocol in LOCAL_PROTOCOLS:
        remove_parts(Path(folder.path), name)


def check_folder_writable(folder: ObjectStoragePath) -> None:
    """
    Check, before anything is fetched, that files can be written to a folder; a store tells at the end only.

    :raises PortkeyPathError: where they cannot.
    """
    if folder.protocol in LOCAL_PROTOCOLS:
        with path_errors(folder):
            check_folder(Path(folder.path))


def keep_only(folder: ObjectStoragePath, wanted: Callable[[str], bool]) -> None:
    """Remove files of earlier exports that are not wanted; files of other tools stay."""
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
