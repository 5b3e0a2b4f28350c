"""
A provider of batches on loopback in a process of its own: ``python -m benchmarks.batch_provider`` prints its URL.

Files are on its disk. A batch is completed as soon as it is created: each request has a response of some 500 bytes, in
the order of the input, whose request number n must have the ``custom_id`` ``order-<n>``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

_TEXT = "The order of the customer left the warehouse two days late, and the carrier adds one more day. " * 2
_OUTCOME = json.dumps(
    {
        "id": "batch_req_%(number)d",
        "custom_id": "order-%(number)d",
        "response": {
            "status_code": 200,
            "request_id": "req_%(number)d",
            "body": {
                "id": "chatcmpl-%(number)d",
                "object": "chat.completion",
                "created": 1_780_000_000,
                "model": "gpt-5-mini",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 120, "completion_tokens": 45, "total_tokens": 165},
            },
        },
        "error": None,
    }
)
_CHUNK = 1024 * 1024
#: Bytes before the file in the form of an upload, at most.
_HEAD = 8 * 1024


class BatchProvider(ThreadingHTTPServer):
    """Files and batches by id; of the files the newest four are kept."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.batches: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    def new_file(self) -> str:
        """Return the id of a new file, and remove old ones."""
        number = next(self._numbers)
        (self.folder / f"file_{number - 4}").unlink(missing_ok=True)
        return f"file_{number}"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a batch with its output."""
        with (self.folder / body["input_file_id"]).open("rb") as file:
            count = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
        output_id = self.new_file()
        with (self.folder / output_id).open("w", encoding="utf-8") as output:
            output.writelines(f"{_OUTCOME % {'number': number}}\n" for number in range(count))
        batch = {
            **body,
            "id": f"batch_{output_id}",
            "object": "batch",
            "status": "completed",
            "output_file_id": output_id,
            "error_file_id": None,
            "request_counts": {"total": count, "completed": count, "failed": 0},
        }
        self.batches[batch["id"]] = batch
        return batch


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BatchProvider

    def do_GET(self) -> None:
        match self.path.split("?")[0].removeprefix("/v1").strip("/").split("/"):
            case ["files", file_id, "content"]:
                with (self.server.folder / file_id).open("rb") as file:
                    self._head(200, (self.server.folder / file_id).stat().st_size)
                    shutil.copyfileobj(file, self.wfile, _CHUNK)
            case ["batches", batch_id]:
                self._json(200, self.server.batches[batch_id])
            case _:
                self._json(404, {"error": {"message": f"no route {self.path}", "type": "invalid_request_error"}})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if self.path.endswith("/files"):
            file_id = self.server.new_file()
            with (self.server.folder / file_id).open("wb") as file:
                self._receive(file, length)
            self._json(200, {"id": file_id, "object": "file", "purpose": "batch", "status": "processed"})
        else:
            self._json(200, self.server.create(json.loads(self.rfile.read(length))))

    def _receive(self, file: BinaryIO, length: int) -> None:
        """Write the file of a form, which is its last part."""
        boundary = self.headers["Content-Type"].partition("boundary=")[2]
        head = self.rfile.read(min(length, _HEAD))
        start = head.index(b"\r\n\r\n", head.index(b'name="file"')) + 4
        size = length - start - len(f"\r\n--{boundary}--\r\n")
        file.write(head[start : start + size])
        left = length - len(head)
        while left:
            chunk = self.rfile.read(min(left, _CHUNK))
            left -= len(chunk)
            file.write(chunk)
        file.truncate(size)

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self._head(status, len(body))
        self.wfile.write(body)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def main(port: int) -> None:
    """Serve until the process ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which removes the folder
    with tempfile.TemporaryDirectory(prefix="portkey-bench-") as folder:
        server = BatchProvider(port, Path(folder))
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    main(parser.parse_args().port)
