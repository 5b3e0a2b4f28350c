"""What a batch gives back: its lines in no order that anybody could rely on, made while they are sent."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd
from typing import Any, TypeAlias

from airflow_provider_portkey.testing.rooms.batch_input import BatchInput

#: Requests that fail: their ids; or each with its HTTP status, or with the error that takes its answer's place.
Failing: TypeAlias = Iterable[str] | Mapping[str, int | Mapping[str, Any]]

_EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}

#: What stands in an encoded answer where its id, and its place, go; no text holds it by chance.
_MARK, _MARK_RANK = "<~custom_id~>", "<~rank~>"


class Shuffle:
    """An order of the numbers below ``length``: always the same one, far from the usual one, and never held."""

    def __init__(self, length: int) -> None:
        self._length = max(length, 1)
        self._shift = self._length // 2
        # The golden section of the length puts neighbours far apart.
        self._stride = max(int(self._length * 0.618), 1)
        while gcd(self._stride, self._length) > 1:
            self._stride += 1

    def at(self, rank: int) -> int:
        """Give the number that stands at a place of the order."""
        return (self._stride * rank + self._shift) % self._length

    def rank(self, number: int) -> int:
        """Give the place of a number."""
        return (number - self._shift) * pow(self._stride, -1, self._length) % self._length


class BatchOutput:
    """The lines of the output file and of the error file.

    :param requests: what was asked.
    :param endpoint: the path that the requests are for; it decides what an answer looks like.
    :param failing: which go to the error file; see :data:`Failing`. Those with neither a status nor an error
        get a 400.
    :param missing: which are in neither file, although the batch counts them as completed.
    :param twice: which are in the output file twice.
    """

    def __init__(
        self,
        requests: BatchInput,
        endpoint: str,
        *,
        failing: Failing = (),
        missing: Iterable[str] = (),
        twice: Iterable[str] = (),
    ) -> None:
        self._requests = requests
        self._answer = _ANSWERS.get(endpoint, _chat_completion)
        self._failing = dict(failing) if isinstance(failing, Mapping) else dict.fromkeys(failing, 400)
        self._missing = frozenset(missing)
        self._twice = frozenset(twice)
        self._templates: dict[str, str] = {}
        self._order = Shuffle(len(requests))
        places = requests.places(frozenset(self._failing))
        self._failing_ranks = sorted(self._order.rank(number) for number in places.values())

    def failed(self, done: int) -> int:
        """Say how many of the first requests to be done fail.

        :param done: how many are done.
        """
        return bisect_left(self._failing_ranks, done)

    def lines(self, done: int) -> Iterator[bytes]:
        """Give the output file; what comes twice comes at the end for the second time.

        :param done: how many requests are done.
        """
        again: list[bytes] = []
        for rank in range(done):
            custom_id, model = self._requests.request(self._order.at(rank))
            if custom_id in self._failing or custom_id in self._missing:
                continue
            line = self._answered_line(rank, custom_id, model)
            yield line
            if custom_id in self._twice:
                again.append(line)
        yield from again

    def error_lines(self, done: int, *, expired: bool) -> Iterator[bytes]:
        """Give the error file.

        :param done: how many requests are done.
        :param expired: whether the others are reported as too late.
        """
        # Nearly all of them are passed over, so they are not even read.
        for rank in self._failing_ranks[: self.failed(done)]:
            custom_id, _ = self._requests.request(self._order.at(rank))
            failure = self._failing[custom_id]
            if isinstance(failure, Mapping):
                yield _line(rank, custom_id, None, dict(failure))
            else:
                message = f"The mock server was told to fail '{custom_id}'."
                error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
                yield _line(rank, custom_id, self._answered(rank, failure, {"error": error}), None)
        for rank in range(done, len(self._requests) if expired else done):
            custom_id, _ = self._requests.request(self._order.at(rank))
            yield _line(rank, custom_id, None, _EXPIRED)

    def _answered_line(self, rank: int, custom_id: str, model: str) -> bytes:
        # Two hundred thousand of them: each model's answer is encoded once, and the id put into the text.
        if model not in self._templates:
            answered = self._answered(0, 200, self._answer(_MARK, model)) | {"request_id": _MARK_RANK}
            text = _line(0, _MARK, answered, None).decode().replace("batch_req_00000000", f"batch_{_MARK_RANK}")
            self._templates[model] = text
        quoted = json.dumps(custom_id)[1:-1]
        return self._templates[model].replace(_MARK_RANK, f"req_{rank:08d}").replace(_MARK, quoted).encode()

    def _answered(self, rank: int, status: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"status_code": status, "request_id": f"req_{rank:08d}", "body": body}


def _line(rank: int, custom_id: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    line = {"id": f"batch_req_{rank:08d}", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _chat_completion(custom_id: str, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"Answer to {custom_id}.", "refusal": None}
    return {
        "id": f"chatcmpl-{custom_id}",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def _embedding(custom_id: str, model: str) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}],
        "model": model,
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def _completion(custom_id: str, model: str) -> dict[str, Any]:
    choice = {"index": 0, "text": f"Answer to {custom_id}.", "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"cmpl-{custom_id}",
        "object": "text_completion",
        "created": 1700000000,
        "model": model,
        "choices": [choice],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def _response(custom_id: str, model: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"Answer to {custom_id}.", "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {"id": f"resp-{custom_id}", "object": "response", "status": "completed", "model": model, "output": [message]}


_ANSWERS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "/v1/chat/completions": _chat_completion,
    "/v1/completions": _completion,
    "/v1/embeddings": _embedding,
    "/v1/responses": _response,
}
