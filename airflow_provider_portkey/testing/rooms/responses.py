"""Responses, in the background and at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.course import Course, begin
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import PageQuery, as_page
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.rooms.response import (
    TERMINAL_STATUSES,
    Item,
    Response,
    response_object,
)
from airflow_provider_portkey.testing.rooms.response_items import input_items, output_items
from airflow_provider_portkey.testing.script import usual_statuses

#: What a caller may choose about a response; it comes back in the response's object as it was sent.
_CHOICES = (
    "model",
    "instructions",
    "tools",
    "metadata",
    "temperature",
    "top_p",
    "max_output_tokens",
    "max_tool_calls",
    "tool_choice",
    "parallel_tool_calls",
    "previous_response_id",
    "conversation",
    "reasoning",
    "service_tier",
    "store",
    "text",
    "truncation",
    "user",
)


class Responses:
    """Every response there is, and the calls that create, show and cancel them.

    :param desk: what it shares with the other rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._responses: dict[str, Response] = {}

    def add(
        self,
        *,
        response_id: str | None = None,
        output: int | Iterable[Mapping[str, Any]] = 3,
        input: str | int | list[Mapping[str, Any]] = "Answer as a mock server would.",
        error: Mapping[str, Any] | None = None,
        incomplete_reason: str = "max_output_tokens",
        background: bool = True,
        **course: Unpack[Course],
    ) -> dict[str, Any]:
        """Start a response.

        :param response_id: ``resp_000001`` and so on where not given.
        :param output: how many items it will have, the last of them a message; or for each its ``type`` and
            the fields that are not to be generated, and ``text`` for the text of a message. They show once
            it is completed or incomplete.
        :param input: what was asked: a text, a list of items, or how many messages.
        :param error: what a failed response reports: ``code`` and ``message``.
        :param incomplete_reason: what an incomplete response reports.
        :param background: only a response in the background can be cancelled.
        :param course: its way; see :class:`.Course`.
        :return: the response's object.
        :raises ValueError: for an id that is taken already, and for a script that makes no sense.
        """
        with self._desk.lock:
            now = self._desk.clock()
            response_id = response_id or self._desk.ids.new("resp", self._responses)
            if response_id in self._responses:
                raise ValueError(f"The id '{response_id}' is taken already")
            response = Response(
                id=response_id,
                output=output_items(self._desk.ids, output),
                error=error,
                incomplete_reason=incomplete_reason,
                background=background,
                **begin(now, **course),
            )
            for item in input_items(self._desk.ids, input):
                response.input_items.add(Item(item["id"], item))
            response.script.settle(now)
            self._responses[response_id] = response
            return response_object(response)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        yield "POST", "/responses", self._create
        yield "GET", "/responses/{response}", self._get
        yield "GET", "/responses/{response}/input_items", self._list_input_items
        yield "POST", "/responses/{response}/cancel", self._cancel

    def _create(self, call: Call) -> dict[str, Any]:
        body = call.body
        if not body.get("model") and not body.get("prompt"):
            raise bad_request("'model' is missing.", param="model")
        if body.get("stream"):
            raise bad_request("The mock server does not stream.", param="stream")
        background = bool(body.get("background"))
        if background and body.get("store") is False:
            raise bad_request("A response in the background has to be stored.", param="store")
        plan = self._desk.planned("responses")
        chosen = {name: body[name] for name in _CHOICES if body.get(name) is not None}
        plan["fields"] = chosen | dict(plan.get("fields") or {})
        if not background:
            statuses = plan.get("statuses", "completed")
            ended = statuses if isinstance(statuses, str) else statuses[-1]
            plan["statuses"] = ended if isinstance(ended, str) else str(ended[0])
        plan.setdefault("statuses", usual_statuses(self._desk.job_seconds))
        plan["input"] = body.get("input") or []
        made = self.add(background=background, **plan)
        # The answer to the POST has seen the first status, as the one to a GET would have.
        self._responses[made["id"]].script.look(call.now)
        return made

    def _get(self, call: Call) -> dict[str, Any]:
        response = self._find(call)
        response.script.look(call.now)
        return response_object(response)

    def _list_input_items(self, call: Call) -> dict[str, Any]:
        items, has_more = self._find(call).input_items.page(PageQuery.parse(call.query))
        return as_page([item.shown for item in items], has_more)

    def _cancel(self, call: Call) -> dict[str, Any]:
        response = self._find(call)
        if not response.background:
            raise bad_request("Only a response in the background can be cancelled.")
        response.script.settle(call.now)
        if response.status in TERMINAL_STATUSES - {"cancelled"}:
            raise bad_request(f"A response that is {response.status} cannot be cancelled.")
        if response.status != "cancelled":
            response.script.replace("cancelled", call.now)
        return response_object(response)

    def _find(self, call: Call) -> Response:
        response = self._responses.get(call.ids["response"])
        if response is None:
            raise not_found("response", call.ids["response"])
        return response
