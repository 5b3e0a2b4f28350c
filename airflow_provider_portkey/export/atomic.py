"""Files appear at their final path whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from airflow_provider_portkey.exceptions import PortkeyDestinationExistsError, PortkeyError, PortkeyInvalidArgumentError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_LOCAL = frozenset({"", "file", "local"})


@dataclass
class WrittenFile:
    """
    A file on its way.

    :param stream: Where its bytes go.
    :param bytes: How many there are; known once it has landed.
    :param sha256: Their hash, in hexadecimal; known once it has landed.
    """

    stream: IO[bytes]
    bytes: int = 0
    sha256: str = ""


def file_path(value: str, conn_id: str | None, *, field: str = "path") -> ObjectStoragePath:
    """
    Return the path that a template has filled in.

    :param conn_id: The Airflow connection to the object store, if one is needed.
    :param field: What the argument is called, for the error.
    :raises PortkeyInvalidArgumentError: where it names no file.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    if not str(value).strip() or str(value).endswith("/"):
        raise PortkeyInvalidArgumentError(field, value, "the path of a file, such as s3://bucket/rows.jsonl")
    return ObjectStoragePath(value, conn_id=conn_id)


def uri_of(path: ObjectStoragePath) -> str:
    """Return a path as other tools take it: with its protocol, without the id of an Airflow connection."""
    if path.protocol in _LOCAL:
        return f"file://{Path(path.path).absolute()}"  # not percent-encoded: ObjectStoragePath decodes nothing
    return f"{path.protocol}://{path.path}"


def refuse_existing(path: ObjectStoragePath, *, overwrite: bool) -> None:
    """
    Look whether a file may be written.

    :raises PortkeyDestinationExistsError: where there is one already and it must stay.
    """
    if not overwrite and path.exists():
        raise PortkeyDestinationExistsError(f"{path} is there already. Set overwrite=True, or choose another path.")


@contextmanager
def atomic_write(path: ObjectStoragePath, *, overwrite: bool = True) -> Iterator[WrittenFile]:
    """
    Write a file aside, and put it at its final path at the end of the block, unless the block raised.

    On a local file system the file is written beside its destination under a hidden name and renamed. For an object
    store it is written to a temporary file of this machine and then uploaded in one operation, because what is
    streamed into an object store directly is there for all to see as soon as the stream is closed, also by an error.

    :raises PortkeyDestinationExistsError: where a file came to be there meanwhile and must stay.
    """
    final = Path(path.path) if path.protocol in _LOCAL else None
    if final:
        final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=final.parent if final else None, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            counted = _Counted(file)
            written = WrittenFile(stream=cast("IO[bytes]", counted))
            yield written
            file.flush()
            os.fsync(file.fileno())
        written.bytes, written.sha256 = counted.size, counted.hash.hexdigest()
        refuse_existing(path, overwrite=overwrite)
        if final:
            os.chmod(aside, 0o666 & ~_umask())
            os.replace(aside, final)
        else:
            _upload(aside, path, written.bytes)
    finally:
        if os.path.exists(aside):
            os.unlink(aside)


def _upload(aside: str, path: ObjectStoragePath, size: int) -> None:
    path.fs.put_file(aside, path.path)
    path.fs.invalidate_cache()
    if (arrived := path.fs.info(path.path)["size"]) != size:
        raise PortkeyError(f"{path} has {arrived} bytes after the upload of {size}: somebody else wrote there, too.")


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@dataclass
class _Counted:
    """Counts and hashes what goes through to the file."""

    file: IO[bytes]
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    closed: bool = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        self.size += view.nbytes
        self.hash.update(view)
        return self.file.write(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
