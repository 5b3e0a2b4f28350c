"""
A provider on loopback in a process of its own: ``python -m benchmarks.provider`` prints its URL and serves on.

It is made to cost little, so that it does not disturb what is measured, and keeps no state: ids say what there is.

- ``/delay/<ms>/v1/...``: every response comes after the delay.
- ``/threads/thread_<n>/runs``: n runs that have completed, those of ``thread_active_<n>`` have not;
  ``/threads/<any>/runs/run_<n>/steps``: n steps. Oldest first with ``order=asc``, paged by ``limit`` (at most 100) and
  ``after``; of ``thread_long_<n>`` with n characters more.
- ``/threads/steps_<s>_<any>_<n>/runs``: n runs with s steps each.
- ``/threads/<any>/runs/<id>``: a run; ``in_progress``, or ``completed`` from the Unix time of ``run_until_<time>``.
- ``/requests``: how many requests came so far, as JSON ``{"requests": n}``; not counted itself.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import time
from urllib.parse import parse_qs, urlsplit

from benchmarks.items import run_json, step_json

_HEAD = "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
_MAX_PAGE = 100


class Provider(asyncio.Protocol):
    """One connection: requests without a body, one after the other or pipelined."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            line = self._received[: self._received.index(b"\r\n")].decode()
            self._received = self._received[end + 4 :]
            self._respond(line.split()[1])

    def _respond(self, target: str) -> None:
        delay, path, query = _parsed(target)
        if path == "/requests":
            body = json.dumps({"requests": Provider.requests}).encode()
            self._send(_framed(200, body))
            return
        Provider.requests += 1
        response = response_to(path, query)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, response)
        else:
            self._send(response)

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


@functools.lru_cache(maxsize=4096)
def _parsed(target: str) -> tuple[float, str, str]:
    split = urlsplit(target)
    parts = split.path.split("/")
    if parts[1] == "delay":
        return int(parts[2]) / 1000, "/" + "/".join(parts[4:]), split.query
    return 0.0, "/" + "/".join(parts[2:] if parts[1] == "v1" else parts[1:]), split.query


def response_to(path: str, query: str) -> bytes:
    """Return the response to a GET, with its head."""
    match path.strip("/").split("/"):
        case ["threads", thread_id, "runs"]:
            return _page("run", thread_id, thread_id, query)
        case ["threads", thread_id, "runs", run_id, "steps"]:
            return _page("step", thread_id, run_id, query)
        case ["threads", thread_id, "runs", run_id]:
            is_over = run_id.startswith("run_until_") and time.time() >= float(run_id.removeprefix("run_until_"))
            return _framed(200, run_json(run_id, thread_id, "completed" if is_over else "in_progress"))
    return _framed(
        404, json.dumps({"error": {"message": f"no route {path}", "type": "invalid_request_error"}}).encode()
    )


@functools.lru_cache(maxsize=1024)
def _page(kind: str, thread_id: str, owner_id: str, query: str) -> bytes:
    given = {name: values[0] for name, values in parse_qs(query).items()}
    count = int(owner_id.rpartition("_")[2])
    limit = min(int(given.get("limit", 20)), _MAX_PAGE)
    ascending = given.get("order") == "asc"
    after = given.get("after")
    at = int(after.split("_")[1]) if after else (-1 if ascending else count)
    numbers = range(at + 1, min(at + 1 + limit, count)) if ascending else range(at - 1, max(at - 1 - limit, -1), -1)
    steps = f"_{thread_id.split('_')[1]}" if kind == "run" and thread_id.startswith("steps_") else ""
    if kind == "step":
        items = [step_json(number, thread_id, owner_id) for number in numbers]
    else:
        status = "in_progress" if owner_id.startswith("thread_active_") else "completed"
        items = [run_json(f"run_{number}{steps}", thread_id, status) for number in numbers]
    has_more = bool(numbers) and (numbers[-1] < count - 1 if ascending else numbers[-1] > 0)
    ids = [f"{kind}_{number}{steps}" for number in numbers]
    first, last = (json.dumps(ids[0]), json.dumps(ids[-1])) if ids else ("null", "null")
    ends = f'"first_id": {first}, "last_id": {last}, "has_more": {json.dumps(has_more)}'
    return _framed(200, b'{"object": "list", "data": [' + b", ".join(items) + f"], {ends}}}".encode())


def _framed(status: int, body: bytes) -> bytes:
    return _HEAD.format(status=f"{status} OK" if status < 400 else f"{status} Error", length=len(body)).encode() + body


async def serve(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))
