"""Atomic writes: a file is whole at its path, or absent."""

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

#: The protocols of paths on a file system of this machine.
LOCAL_PROTOCOLS = frozenset({"", "file", "local"})


@dataclass
class WrittenFile:
    """
    A file that :func:`atomic_write` writes.

    :param stream: Takes the bytes.
    :param bytes: The size; known after the block.
    :param sha256: The hash in hexadecimal; known after the block.
    """

    stream: IO[bytes]
    bytes: int = 0
    sha256: str = ""


def file_path(value: str, conn_id: str | None, *, field: str = "path") -> ObjectStoragePath:
    """
    Return the path of a file, given the value of a parameter after rendering.

    :param conn_id: The Airflow connection to the object store, if the store needs one.
    :param field: The name of the parameter, for the error.
    :raises PortkeyInvalidArgumentError: where the value is no path of a file.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    if not str(value).strip() or str(value).endswith("/"):
        raise PortkeyInvalidArgumentError(field, value, "the path of a file, such as s3://bucket/rows.jsonl")
    return ObjectStoragePath(value, conn_id=conn_id)


def uri_of(path: ObjectStoragePath) -> str:
    """Return a path with its protocol and without the id of an Airflow connection, as other tools take it."""
    if path.protocol in LOCAL_PROTOCOLS:
        return f"file://{Path(path.path).absolute()}"  # not percent-encoded: ObjectStoragePath decodes nothing
    return f"{path.protocol}://{path.path}"


def refuse_existing(path: ObjectStoragePath, *, overwrite: bool) -> None:
    """
    Check that a file may be written.

    :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
    """
    if not overwrite and path.exists():
        raise PortkeyDestinationExistsError(f"{path} exists. Set overwrite=True, or choose another path.")


@contextmanager
def atomic_write(path: ObjectStoragePath, *, overwrite: bool = True) -> Iterator[WrittenFile]:
    """
    Write a temporary file, and move it to its path at the end of the block, unless the block raised.

    On a local file system the temporary file lies beside its destination, under a hidden name, and is renamed. For an
    object store it lies on this machine and is uploaded in one operation: a stream into an object store would become
    a visible object when it is closed, also by an error.

    :raises PortkeyDestinationExistsError: where a file was created at the path meanwhile and ``overwrite`` is off.
    """
    final = Path(path.path) if path.protocol in LOCAL_PROTOCOLS else None
    if final:
        final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(
        dir=final.parent if final else None, prefix=f".{path.name}.", suffix=".part"
    )
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
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, final)
        else:
            _upload(temporary, path, written.bytes)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _upload(temporary: str, path: ObjectStoragePath, size: int) -> None:
    path.fs.put_file(temporary, path.path)
    path.fs.invalidate_cache()
    if (uploaded := path.fs.info(path.path)["size"]) != size:
        raise PortkeyError(f"{path} has {uploaded} bytes after an upload of {size} bytes: another process wrote it.")


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@dataclass
class _Counted:
    """A file that counts and hashes its bytes."""

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
