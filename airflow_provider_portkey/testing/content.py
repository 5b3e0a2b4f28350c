"""Answers that are no JSON object: bytes from disk, whole or in part, and lines made while they are sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

from airflow_provider_portkey.testing.spool import Spool, as_blocks

_RANGE = re.compile(r"bytes=(?:([0-9]+)-([0-9]*)|-([0-9]+))")


@dataclass(frozen=True)
class Content:
    """What an endpoint answers with that does not answer in JSON.

    :param source: a spool is sent with its length, and in part where the caller asks for a part; lines are
        made as they are sent, so their length is not known before.
    :param media_type: its ``Content-Type``.
    :param ranges: whether a part may be asked for; a caller that asks nevertheless gets the whole.
    """

    source: Spool | Iterable[bytes]
    media_type: str = "application/octet-stream"
    ranges: bool = True


def content_answer(content: Content, headers: Mapping[str, str]) -> Response:
    """Answer with a content, or with the part that the request's ``Range`` names.

    :param headers: those of the request, by names in lower case.
    """
    source = content.source
    if not isinstance(source, Spool):
        return _streamed(as_blocks(source), 200, {"content-type": content.media_type})
    start, stop = 0, source.size
    status = 200
    answered = {"content-type": content.media_type, "etag": f'"{source.size:x}"'}
    if content.ranges:
        answered["accept-ranges"] = "bytes"
        wanted = _RANGE.fullmatch(headers.get("range", ""))
        if wanted and headers.get("if-range", answered["etag"]) == answered["etag"]:
            start, stop = _bounds(wanted, source.size)
            if start >= stop:
                return Response(status_code=416, headers={"content-range": f"bytes */{source.size}"})
            status = 206
            answered["content-range"] = f"bytes {start}-{stop - 1}/{source.size}"
    answered["content-length"] = str(stop - start)
    return _streamed(source.blocks(start, stop), status, answered)


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    first, last, tail = wanted.groups()
    if tail is not None:
        return max(size - int(tail), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _streamed(blocks: Iterator[bytes], status: int, headers: Mapping[str, str]) -> Response:
    async def flow() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block
            # Lets the server answer others meanwhile, and notice that the caller has gone.
            await asyncio.sleep(0)

    return StreamingResponse(flow(), status_code=status, headers=dict(headers))
