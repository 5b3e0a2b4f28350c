"""Atomic writes: a file is whole at its path, or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from airflow_provider_portkey.exceptions import PortkeyDestinationExistsError, PortkeyInvalidArgumentError
from airflow_provider_portkey.export.local_files import part_file, path_errors, remove_parts
from airflow_provider_portkey.export.object_store import object_stream, remove_local_copies

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: The protocols of paths on a file system of this machine.
LOCAL_PROTOCOLS = frozenset({"", "file", "local"})
#: What brings the file system of a scheme; from the list of Airflow's documentation of object storage.
_STORE_PROVIDERS = {
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "gs": "apache-airflow-providers-google",
    **dict.fromkeys(("abfs", "abfss", "adl"), "apache-airflow-providers-microsoft-azure"),
}
#: Bytes that a check writes to find a full disk: one block of common file systems.
_PROBE_BYTES = 4096
#: Control characters: a name with one is a mistake of a template, and misleads in every listing and log.
_CONTROL = re.compile("[\x00-\x1f\x7f]")
#: Characters that end the part of a URL with the connection.
_NOT_IN_NETLOC = re.compile("[/?#]")


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
    text = check_path_text(value, field=field)
    if value is None or not text.strip() or text.endswith("/"):
        raise PortkeyInvalidArgumentError(field, value, "the path of a file, such as s3://bucket/rows.jsonl")
    return open_path(text, conn_id)


def open_path(path: str, conn_id: str | None) -> ObjectStoragePath:
    """
    Return a path with its connection: the one that the path names, else the one that is given.

    :raises AirflowOptionalProviderFeatureException: where Airflow has no file system for the path's scheme.
    """
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, ObjectStoragePath

    scheme = path.partition("://")[0]
    # Of two connections Airflow before 3.2 prefers the one that is given, also where that is ``None``.
    names_its_own = "@" in urlsplit(path).netloc
    try:
        opened = ObjectStoragePath(path, **({} if conn_id is None or names_its_own else {"conn_id": conn_id}))
        if opened.protocol not in LOCAL_PROTOCOLS:
            opened.fs  # noqa: B018 (finds the scheme, or raises)
    except ValueError as error:
        if "filesystem" not in str(error):
            raise
        provider = _STORE_PROVIDERS.get(scheme)
        install = f"pip install '{provider}' on the workers" if provider else "correct the path"
        raise AirflowOptionalProviderFeatureException(
            f"Airflow has no file system for {scheme}:// here: {install}."
        ) from error
    return opened


def check_distinct(
    written: Mapping[str, ObjectStoragePath | None], read: Mapping[str, Iterable[ObjectStoragePath | None]]
) -> None:
    """
    Check that no file is written over another one of the same task.

    :param written: The files to write, by the names of their parameters; ``None`` for none.
    :param read: The files to read, by the names of their parameters.
    :raises PortkeyInvalidArgumentError: naming the parameter of the file to write, and whose file it is.
    """
    taken = {uri_of(path): name for name, paths in read.items() for path in paths if path is not None}
    for name, path in written.items():
        if path is not None and (other := taken.setdefault(uri_of(path), name)) != name:
            raise PortkeyInvalidArgumentError(name, str(path), f"another file than that of {other}")


def check_path_text(value: object, *, field: str) -> str:
    """
    Return a path as a string.

    :raises PortkeyInvalidArgumentError: for a path with a control character or half of a surrogate pair.
    """
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PortkeyInvalidArgumentError(field, value, "a path without halves of surrogate pairs") from None
    if _CONTROL.search(text):
        raise PortkeyInvalidArgumentError(field, value, "a path without line breaks and other control characters")
    return text


def uri_of(path: ObjectStoragePath) -> str:
    """Return a path with its protocol and without the id of an Airflow connection, as other tools take it."""
    if path.protocol in LOCAL_PROTOCOLS:
        return f"file://{Path(path.path).absolute()}"  # not percent-encoded: ObjectStoragePath decodes nothing
    return f"{path.protocol}://{path.path}"


def path_text(path: ObjectStoragePath) -> str:
    """
    Return a path as another task opens it: in an object store with the id of its Airflow connection.

    A URL has no place for an id with one of ``/?#``: such a connection has to be given to each task.
    """
    if path.protocol in LOCAL_PROTOCOLS:
        return str(Path(path.path).absolute())
    # Airflow before 3.2 keeps the id among the options.
    conn_id = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")
    in_url = f"{conn_id}@" if conn_id and not _NOT_IN_NETLOC.search(conn_id) else ""
    return f"{path.protocol}://{in_url}{path.path}"


def names_of(path: ObjectStoragePath | None, of: str = "") -> dict[str, Any]:
    """
    Return the fields of a manifest that name a file or a folder: ``uri`` for other tools, ``path`` for other tasks.

    :param path: ``None`` for a file that was not written.
    :param of: What the names of the fields begin with.
    """
    uri, text = (None, None) if path is None else (uri_of(path), path_text(path))
    return {f"{of}uri": uri, f"{of}path": text}


def path_in(manifest: Mapping[str, Any]) -> Any:
    """Return the path that a manifest names: ``path``, which has the connection, or else the ``uri``."""
    return manifest.get("path") or manifest.get("uri")


def refuse_existing(path: ObjectStoragePath, *, overwrite: bool) -> None:
    """
    Check that a file may be written.

    :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
    """
    if overwrite:
        return
    with path_errors(path):
        exists = path.exists()
    if exists:
        raise PortkeyDestinationExistsError(f"{path} exists. Set overwrite=True, or choose another path.")


def check_destination(path: ObjectStoragePath, *, overwrite: bool) -> None:
    """
    Check, before anything is fetched, that a file may and can be written, and remove what killed processes left of it.

    Of a local path every error shows here but a disk that fills up later; a store tells at the end only.

    :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
    :raises PortkeyPathError: where the file cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    if path.protocol not in LOCAL_PROTOCOLS:
        remove_local_copies(path)
        return
    final = Path(path.path)
    with path_errors(path):
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        check_folder(final.parent)
        remove_parts(final.parent, final.name)


def check_folder(folder: Path) -> None:
    """
    Create a local folder, and check that files can be written to it.

    :raises OSError: where they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with part_file(folder / "probe") as (file, _):
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_write(path: ObjectStoragePath, *, overwrite: bool = True) -> Iterator[WrittenFile]:
    """
    Write a file that is at its path after the block, unless the block raised.

    On a local file system a temporary file lies beside its destination, under a hidden name, and is renamed. An object
    is committed in one operation: a plain stream into an object store would become a visible object when it is
    closed, also by an error.

    :raises PortkeyDestinationExistsError: where a file was created at the path meanwhile and ``overwrite`` is off.
    :raises PortkeyPathError: where the file cannot be written.
    """

    def check() -> None:
        refuse_existing(path, overwrite=overwrite)

    is_local = path.protocol in LOCAL_PROTOCOLS
    with _local_stream(path, check) if is_local else object_stream(path, check) as stream:
        counted = _Counted(stream, path)
        written = WrittenFile(stream=cast("IO[bytes]", counted))
        yield written
        written.bytes, written.sha256 = counted.size, counted.hash.hexdigest()


@contextmanager
def _local_stream(path: ObjectStoragePath, check: Callable[[], None]) -> Iterator[IO[bytes]]:
    final = Path(path.path)
    with ExitStack() as opened:
        with path_errors(path):
            final.parent.mkdir(parents=True, exist_ok=True)
            file, part = opened.enter_context(part_file(final))
        yield file
        with path_errors(path):
            file.flush()
            os.fsync(file.fileno())
        check()
        with path_errors(path):
            os.replace(part, final)


@dataclass
class _Counted:
    """A file that counts and hashes its bytes."""

    file: IO[bytes]
    path: ObjectStoragePath
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    closed: bool = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data)
        self.size += view.nbytes
        self.hash.update(view)
        with path_errors(self.path):
            return self.file.write(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        with path_errors(self.path):
            self.file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
