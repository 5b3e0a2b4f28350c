"""Responses, synchronous and in the background, and their items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.paging import Items, PageQuery, Record
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.scenario import Job
from airflow_provider_portkey.testing.timeline import default_statuses, parse_statuses

#: The prefix of an item's id, by its type.
_ID_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}

#: The types of generated output items, in turn.
_ITEM_TYPES = ("reasoning", "function_call", "message")

_RESPONSE: dict[str, Any] = {
    "object": "response",
    "model": "mock-model",
    "tool_choice": "auto",
    "tools": [],
    "truncation": "disabled",
    "metadata": {},
    **dict.fromkeys(("instructions", "max_output_tokens", "previous_response_id")),
    **dict.fromkeys(("parallel_tool_calls", "store"), True),
    **dict.fromkeys(("temperature", "top_p"), 1.0),
}


@dataclass(kw_only=True)
class Response(Job):
    """
    A response; further parameters are those of :class:`.Job`.

    :param response_id: ``resp_000001`` and so on where not given.
    :param output: the number of output items, the last of them a message; or for each its ``type`` and the fields
        that are not to be generated, and ``text`` for the content of a message. They appear once the response is
        completed or incomplete.
    :param input: a string, a list of items, or a number of messages.
    :param error: what a failed response reports: ``code`` and ``message``.
    :param incomplete_reason: what an incomplete response reports.
    :param background: only a response in the background can be cancelled.
    """

    response_id: str | None = None
    output: int | Iterable[Mapping[str, Any]] = 3
    input: str | int | list[Mapping[str, Any]] = "Answer as a mock server would."
    error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_output_tokens"
    background: bool = True
    output_items: list[dict[str, Any]] = field(init=False)
    input_items: Items[Record] = field(init=False, default_factory=Items)


class Responses(JobResource[Response]):
    """All responses."""

    job_class = Response
    name = "responses"
    kind = "response"
    path = "/responses/{response_id}"
    id_prefix = "resp"
    # A cancelled response may be cancelled again.
    not_cancellable = frozenset({"completed", "failed", "incomplete"})
    not_echoed = frozenset({"input", "stream", "background", "include", "prompt"})

    def prepare(self, job: Response) -> None:
        output = job.output
        if isinstance(output, int):
            # The last one is a message, whatever their number.
            output = [{"type": _ITEM_TYPES[(number - output) % len(_ITEM_TYPES)]} for number in range(output)]
        job.output_items = [self._output_item(number, dict(plan)) for number, plan in enumerate(output)]
        for item in _input_messages(job.input):
            job.input_items.add(Record(self._input_item(dict(item))))

    def serialize(self, job: Response) -> dict[str, Any]:
        status = job.status
        has_output = status in ("completed", "incomplete")
        error = job.error or {"code": "invalid_prompt", "message": "The mock server was told to fail this response."}
        tokens = 5 * len(job.output_items)
        usage: dict[str, Any] = {"input_tokens": 20, "output_tokens": tokens, "total_tokens": 20 + tokens}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {
            **_RESPONSE,
            "id": job.id,
            "created_at": job.created,
            "status": status,
            "background": job.background,
            "completed_at": job.reached_at("completed"),
            "error": error if status == "failed" else None,
            "incomplete_details": {"reason": job.incomplete_reason} if status == "incomplete" else None,
            "output": job.output_items if has_output else [],
            "usage": usage if has_output else None,
            **job.fields,
        }

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "POST", self.list_path, self._create
        yield "GET", self.path + "/input_items", self._list_input_items

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        body = request.body
        if not body.get("model") and not body.get("prompt"):
            raise bad_request("'model' is missing.", param="model")
        if body.get("stream"):
            raise bad_request("The mock server does not stream.", param="stream")
        background = bool(body.get("background"))
        if background and body.get("store") is False:
            raise bad_request("A response in the background has to be stored.", param="store")
        messages = _input_messages(body.get("input") or [])
        statuses = default_statuses(self.store.job_seconds)
        job = self.create(body, input=messages, background=background, statuses=statuses)
        if not background:
            job.timeline.replace(parse_statuses(job.statuses or statuses)[-1][0], request.now)
        return self.serialize(job)

    def _cancel(self, request: ApiRequest) -> dict[str, Any]:
        if not self.find(request.ids).background:
            raise bad_request("Only a response in the background can be cancelled.")
        return super()._cancel(request)

    def _list_input_items(self, request: ApiRequest) -> dict[str, Any]:
        return self.find(request.ids).input_items.list_page(PageQuery.parse(request.query), Record.serialize)

    def _output_item(self, number: int, plan: dict[str, Any]) -> dict[str, Any]:
        kind = plan.setdefault("type", "message")
        content = plan.pop("text", f"Answer of item {number}.")
        item: dict[str, Any] = {}
        if kind == "message":
            parts = [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}]
            item = {"status": "completed", "role": "assistant", "content": parts}
        elif kind == "reasoning":
            item = {"summary": [{"type": "summary_text", "text": f"Thought of item {number}."}]}
        elif kind == "function_call":
            call = {"call_id": self.store.new_id("call"), "name": "look_up", "arguments": f'{{"item": {number}}}'}
            item = {"status": "completed", **call}
        return {"id": self._item_id(kind), **item, **plan}

    def _input_item(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = given.get("type", "message")
        item = {"id": self._item_id(kind), "type": kind, "status": "completed", **given}
        if kind == "message" and isinstance(item.get("content"), str):
            part_type = "output_text" if item.get("role") == "assistant" else "input_text"
            item["content"] = [{"type": part_type, "text": item["content"]}]
        return item

    def _item_id(self, kind: str) -> str:
        return self.store.new_id(_ID_PREFIXES.get(kind, "item"))


def _input_messages(given: Any) -> list[Mapping[str, Any]]:
    if isinstance(given, int):
        return [{"role": "user", "content": f"Question {number}."} for number in range(1, given + 1)]
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(item, Mapping) for item in given):
        raise bad_request("'input' has to be a string or a list of items.", param="input")
    return given
