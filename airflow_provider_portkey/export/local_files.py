"""Files of this machine: temporary files that a killed process leaves and its successor removes, and typed errors."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from airflow_provider_portkey.exceptions import PortkeyPathError

#: Bytes of a file name that a temporary file repeats: file systems allow 255, and its own parts need some of them.
_LONGEST_STEM = 180
_SUFFIX = ".part"

_FIXES = {
    errno.EACCES: "Give the worker's user the right to write there, or choose another path.",
    errno.EPERM: "Give the worker's user the right to write there, or choose another path.",
    errno.EROFS: "The file system is mounted read-only: choose another path.",
    errno.EISDIR: "The path must be that of a file: choose another name, or remove the folder.",
    errno.ENOTDIR: "A part of the path is a file, not a folder: choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOSPC: "Free space, or choose another path; a retry writes the whole file again.",
    errno.EDQUOT: "Free space, or choose another path; a retry writes the whole file again.",
    errno.ENOENT: "Check the path, and that its bucket or folder exists.",
}


@contextmanager
def path_errors(path: object, verb: str = "written") -> Iterator[None]:
    """
    Turn errors of the operating system and of object stores into one that names the path and says what to do.

    :param verb: ``"written"`` or ``"read"``.
    :raises PortkeyPathError: for every ``OSError`` of the block.
    """
    try:
        yield
    except OSError as error:
        number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else None)
        reason = error.strerror or str(error) or type(error).__name__
        fix = _FIXES.get(number or 0, "")
        raise PortkeyPathError(f"{path} cannot be {verb}: {reason}. {fix}".rstrip(), path=str(path)) from error


@contextmanager
def part_file(final: Path, mode: int = 0o666) -> Iterator[tuple[IO[bytes], Path]]:
    """
    Create a hidden temporary file beside a file to be, and remove it after the block unless it was renamed.

    The file is locked while its process lives, so that :func:`remove_parts` knows those of killed processes.

    :param final: The file to be.
    :param mode: As of ``os.open``: the process's umask applies, and stays as it is.
    :return: The file, open for writing, and its path.
    """
    while True:
        part = final.parent / f"{_part_prefix(final.name)}{uuid.uuid4().hex[:8]}{_SUFFIX}"
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with suppress(OSError):  # a file system without locks: its leftovers stay
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # otherwise removed as a leftover before it was locked
            break
        os.close(descriptor)
    file = os.fdopen(descriptor, "wb")
    try:
        yield file, part
    finally:
        # Also after an error: what is still buffered would be flushed later, into whatever has the descriptor then.
        with suppress(OSError):
            file.close()
        with suppress(FileNotFoundError):
            os.unlink(part)


def remove_parts(folder: Path, name: str | None = None) -> None:
    """
    Remove the temporary files of killed processes from a folder; those of living processes are locked, and stay.

    :param name: Only those of the file with this name.
    """
    prefix = "." if name is None else _part_prefix(name)
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:  # removed meanwhile, or of another user
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:  # locked by a living process, or no locks here
        pass
    finally:
        os.close(descriptor)


def _part_prefix(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_STEM:
        return f".{name}."
    stem = encoded[:_LONGEST_STEM].decode("utf-8", "ignore")
    return f".{stem}.{hashlib.sha256(encoded).hexdigest()[:16]}."
