"""The input of a batch, brought to this machine once: what is checked is what is uploaded."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_portkey.batch.input import check_batch_input
from airflow_provider_portkey.export.jsonl import split_lines

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Bytes that are read at once.
_PIECE = 1024 * 1024
#: Characters of the file's own name that the uploaded one keeps.
_NAME_KEPT = 60


@dataclass(frozen=True)
class BatchFile:
    """
    A checked input.

    :param file: Open for reading.
    :param uri: Where it came from.
    :param requests: How many requests it has.
    :param bytes: How long it is.
    :param sha256: Its hash, in hexadecimal.
    """

    file: BinaryIO
    uri: str
    requests: int
    bytes: int
    sha256: str

    def upload_name(self, idempotency_key: str) -> str:
        """Return a name that only an upload of this very content by this very task bears."""
        own = re.sub(r"[^\w.-]+", "_", self.uri.rsplit("/", 1)[-1], flags=re.ASCII)
        return f"{own.removesuffix('.jsonl')[:_NAME_KEPT]}-{self.sha256[:12]}-{idempotency_key}.jsonl"


@contextmanager
def checked_file(path: ObjectStoragePath, *, endpoint: str, max_requests: int | None = None) -> Iterator[BatchFile]:
    """
    Open the input of a batch, a remote one in a temporary file of this machine, and check every line.

    :param endpoint: What the requests must be for.
    :param max_requests: Requests that there may be, ``None`` for any number.
    :raises PortkeyBatchInputInvalidError: naming the bad lines.
    """
    from airflow_provider_portkey.export.atomic import uri_of
    from airflow_provider_portkey.export.openlineage import report_lineage

    uri = uri_of(path)
    with open(path.path, "rb") if uri.startswith("file://") else _fetched(path) as file:
        hash_ = hashlib.sha256()
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            while piece := file.read(_PIECE):
                hash_.update(piece)
                size += len(piece)
                yield piece

        report_lineage(path, inputs=[uri])
        requests = check_batch_input(split_lines(pieces()), endpoint=endpoint, name=uri, max_requests=max_requests)
        yield BatchFile(file, uri, requests, size, hash_.hexdigest())


@contextmanager
def _fetched(path: ObjectStoragePath) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        with cast("Any", path).open("rb") as source:
            shutil.copyfileobj(source, file, _PIECE)
        file.seek(0)
        yield file
