"""A file as a ``multipart/form-data`` body: streamed, with a known length, and repeatable."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from airflow_provider_portkey.client.settings import ConnectionSettings
from airflow_provider_portkey.exceptions import PortkeyError

#: Seconds without progress while the file is sent: a gateway that forwards it stops reading while the provider is
#: slow. Bounds connecting as well, which ``urllib3`` does not distinguish.
STALL_TIMEOUT = 60.0
#: Seconds until the response: some gateways forward the file only when they have all of it.
RESPONSE_TIMEOUT = 600.0
#: Bytes that are read and sent at once.
_CHUNK = 128 * 1024


def with_upload_timeouts(settings: ConnectionSettings) -> ConnectionSettings:
    """Return settings with time-outs for a large file on a slow connection; longer ones of the connection stay."""
    return dataclasses.replace(
        settings,
        connect_timeout=max(settings.connect_timeout, STALL_TIMEOUT),
        read_timeout=max(settings.read_timeout, RESPONSE_TIMEOUT),
    )


class MultipartFile:
    """
    The body of a request that uploads one file. Each iteration yields the file from its start.

    :param file: Open for reading, seekable.
    :param filename: The provider's name for the file.
    :param fields: The form's other fields, before the file.
    :param size: Bytes of the file; measured by default.
    """

    def __init__(
        self, file: BinaryIO, *, filename: str, fields: Mapping[str, str] | None = None, size: int | None = None
    ) -> None:
        self._file = file
        self._name = filename
        self.size = file.seek(0, os.SEEK_END) if size is None else size
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in (fields or {}).items()
        ]
        head.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(filename)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(head).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + self.size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """
        Yield the body.

        :raises PortkeyError: where the file has changed its length since the headers announced it.
        """
        yield self._head
        self._file.seek(0)
        remaining = self.size
        while remaining and (chunk := self._file.read(min(_CHUNK, remaining))):
            remaining -= len(chunk)
            yield chunk
        if remaining or self._file.read(1):
            raise PortkeyError(f"{self._name} no longer has the {self.size} bytes that were to be uploaded.")
        yield self._tail


def _quoted(name: str) -> str:
    """Escape a name as browsers do (WHATWG HTML, multipart/form-data)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
