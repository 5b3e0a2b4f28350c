"""Objects: written whole or not at all, without a copy on this machine where the store's file system can do so."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyError
from airflow_provider_portkey.export.local_files import part_file, path_errors, remove_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

#: File systems whose streams are invisible until ``commit()``; of s3fs tried with 40 MiB. Those of gcsfs and adlfs
#: were not tried, and fsspec's own base class ignores ``autocommit=False``.
_COMMITTING_PROTOCOLS = frozenset({"s3", "s3a"})
#: Bytes of a part of a multipart upload, and of an object that one request writes. S3 allows 10,000 parts of at least
#: 5 MiB: objects of up to 156 GiB.
_PART_BYTES = 16 * 1024 * 1024


@contextmanager
def object_stream(path: ObjectStoragePath, check: Callable[[], None]) -> Iterator[IO[bytes]]:
    """
    Open a stream whose bytes become an object at the end of the block, unless the block raised.

    :param check: Called before the object becomes visible; may raise.
    """
    if _COMMITTING_PROTOCOLS.isdisjoint(_protocols(path)):
        with _uploaded(path, check) as stream:
            yield stream
        return
    committed = _CommittedStream(path)
    try:
        yield committed  # type: ignore[misc]
        check()
        with path_errors(path):
            committed.commit()
    except BaseException:
        committed.discard()
        raise
    _check_size(path, committed.size)


def remove_local_copies(path: ObjectStoragePath) -> None:
    """Remove what killed processes left of their uploads to a path on this machine."""
    remove_parts(Path(tempfile.gettempdir()), path.name)


class _CommittedStream:
    """Collects the bytes of a small object, and streams a larger one part by part."""

    def __init__(self, path: ObjectStoragePath) -> None:
        self._path = path
        self._small = io.BytesIO()
        self._file: Any = None
        self.size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        if self._file is None and self.size > _PART_BYTES:
            self._file = self._path.fs.open(self._path.path, "wb", autocommit=False, block_size=_PART_BYTES)
            self._file.write(self._small.getbuffer())
            self._small = io.BytesIO()
        return int((self._file or self._small).write(data))

    def flush(self) -> None:
        """Do nothing: parts are sent when they are full."""

    def commit(self) -> None:
        if self._file is None:
            self._path.fs.pipe_file(self._path.path, self._small.getvalue())
        else:
            self._file.close()
            self._file.commit()

    def discard(self) -> None:
        if self._file is None:
            return
        # Closed first: an open file sends its rest when it is garbage collected.
        self._file.closed = True
        try:
            self._file.discard()
        except Exception as error:
            log.warning(
                "The unfinished upload of %s was not aborted; a lifecycle rule removes it: %s", self._path, error
            )


@contextmanager
def _uploaded(path: ObjectStoragePath, check: Callable[[], None]) -> Iterator[IO[bytes]]:
    """Open a temporary file of this machine, which is uploaded in one operation."""
    copy = Path(tempfile.gettempdir()) / path.name
    with ExitStack() as opened:
        with path_errors(copy):
            file, part = opened.enter_context(part_file(copy, 0o600))
        yield file
        with path_errors(copy):
            file.flush()
        check()
        size = part.stat().st_size
        with path_errors(path):
            path.fs.put_file(str(part), path.path)
    _check_size(path, size)


def _check_size(path: ObjectStoragePath, size: int) -> None:
    with path_errors(path):
        path.fs.invalidate_cache()
        uploaded = path.fs.info(path.path)["size"]
    if uploaded != size:
        raise PortkeyError(f"{path} has {uploaded} bytes after an upload of {size} bytes: another process wrote it.")


def _protocols(path: ObjectStoragePath) -> set[str]:
    protocol: Any = path.fs.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)
