"""Responses, synchronous and in the background, and their items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_portkey.testing.app import ApiRequest
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.resources.jobs import Job, echo
from airflow_provider_portkey.testing.store import Items


@dataclass(kw_only=True)
class ModelResponse(Job):
    """
    A response; further parameters are those of :class:`.Job`.

    :param response_id: ``resp_000001`` and so on where not given.
    :param output: the number of output items, or for each its ``type`` and the fields that are not to be generated,
        and ``text`` for the content of a message. They appear once the response is completed or incomplete.
    :param input: a string, a list of items, or a number of messages.
    :param error: what a failed response reports: ``code`` and ``message``.
    :param incomplete_reason: what an incomplete response reports.
    :param background: only a response in the background can be cancelled.
    """

    response_id: str | None = None
    output: int | list[Mapping[str, Any]] = 3
    input: str | int | list[Mapping[str, Any]] = "Respond as a mock server would."
    error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_output_tokens"
    background: bool = True
    output_items: list[dict[str, Any]] = field(init=False)
    input_items: Items[dict[str, Any]] = field(init=False, default_factory=Items)

    name = "responses"
    kind = "response"
    path = "/v1/responses/{response_id}"
    id_prefix = "resp"
    create_paths = ("/v1/responses",)
    has_list = False
    lists: ClassVar[Mapping[str, str]] = {"/input_items": "input_items"}
    # A cancelled response may be cancelled again.
    final_statuses = frozenset({"completed", "failed", "incomplete"})
    timestamps = ("completed",)
    template: ClassVar[Mapping[str, Any]] = {
        "object": "response",
        "model": "mock-model",
        **{"instructions": None, "tools": [], "tool_choice": "auto", "metadata": {}, "store": True},
        **{"parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0},
    }

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        body = request.body
        if not body.get("model") and not body.get("prompt"):
            raise bad_request("'model' is missing.", param="model")
        background = bool(body.get("background"))
        if background and body.get("store") is False:
            raise bad_request("A response in the background has to be stored.", param="store")
        fields = echo(body, "input", "background", "include", "prompt")
        return {"input": _input_items(body.get("input") or []), "background": background, "fields": fields}

    def prepare(self) -> None:
        output: list[Mapping[str, Any]] = [{}] * self.output if isinstance(self.output, int) else self.output
        self.output_items = []
        for number, given in enumerate(map(dict, output)):
            text = {"type": "output_text", "text": given.pop("text", f"Content of item {number}."), "annotations": []}
            item = {"id": self.store.new_id("item"), "type": "message", "status": "completed", **given}
            message = {"role": "assistant", "content": [text]} if item["type"] == "message" else {}
            self.output_items.append({**message, **item})
        for sent in _input_items(self.input):
            item = {"id": self.store.new_id("item"), "type": "message", "status": "completed", **sent}
            if item["type"] == "message" and isinstance(item.get("content"), str):
                part_type = "output_text" if item.get("role") == "assistant" else "input_text"
                item["content"] = [{"type": part_type, "text": item["content"]}]
            self.input_items.add(item["id"], item)

    def details(self) -> dict[str, Any]:
        has_output, tokens = self.status in ("completed", "incomplete"), 5 * len(self.output_items)
        usage: dict[str, Any] = {"input_tokens": 20, "output_tokens": tokens, "total_tokens": 20 + tokens}
        usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {
            "background": self.background,
            "error": self.failure(self.error),
            "incomplete_details": {"reason": self.incomplete_reason} if self.status == "incomplete" else None,
            "output": self.output_items if has_output else [],
            "usage": usage if has_output else None,
        }

    def respond_to_create(self, request: ApiRequest) -> dict[str, Any]:
        if not self.background:
            rest = self.timeline.rest() or [(self.status, 0.0)]
            self.timeline.replace(rest[-1][0], request.now)
        return self.serialize()

    def cancel(self, request: ApiRequest) -> dict[str, Any]:
        if not self.background:
            raise bad_request("Only a response in the background can be cancelled.")
        return super().cancel(request)


def _input_items(given: Any) -> list[Mapping[str, Any]]:
    if isinstance(given, int):
        return [{"role": "user", "content": f"Question {number}."} for number in range(1, given + 1)]
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not all(isinstance(item, Mapping) for item in given):
        raise bad_request("'input' has to be a string or a list of items.", param="input")
    return given
