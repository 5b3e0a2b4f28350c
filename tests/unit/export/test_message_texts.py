from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.export.message_texts import MessageTexts
from airflow_provider_portkey.hooks.portkey import PortkeyHook

MESSAGES = "/threads/thread_1/messages"


def message(number: int, *texts: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": {"value": text, "annotations": []}} for text in texts]
    return {"id": f"msg_{number}", "role": "assistant", "content": content, **more}


def step(number: int) -> dict[str, Any]:
    details = {"type": "message_creation", "message_creation": {"message_id": f"msg_{number}"}}
    return {"id": f"step_{number}", "type": "message_creation", "step_details": details}


def texts(order: str = "asc") -> MessageTexts:
    return MessageTexts(PortkeyHook(), "thread_1", "run_1", order)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_each_step_gets_its_text_and_each_page_is_fetched_once(
    portkey_connection: Any, serve_list: Callable[..., Any], order: str
) -> None:
    served = serve_list(MESSAGES, [message(number, f"text {number}") for number in range(250)])
    numbers = range(250) if order == "asc" else range(249, -1, -1)
    joined = texts(order)

    assert [joined.of(step(number)) for number in numbers] == [f"text {number}" for number in numbers]
    assert served.call_count == 3
    for request in served.request_history:
        query = parse_qs(urlsplit(request.url).query)
        assert (query["run_id"], query["order"]) == (["run_1"], [order])


def test_nothing_is_fetched_where_no_step_wrote_a_message(portkey_connection: Any, requests_mock: Any) -> None:
    tool_calls = {"id": "step_1", "type": "tool_calls", "step_details": {"type": "tool_calls", "tool_calls": []}}

    joined = texts()

    assert [joined.of(one) for one in (tool_calls, {"id": "step_2"}, {"id": "step_3", "step_details": None})] == [
        None
    ] * 3
    assert requests_mock.call_count == 0


def test_details_of_an_unknown_shape_have_no_text(portkey_connection: Any) -> None:
    assert texts().of({"id": "step_1", "step_details": "something new"}) is None


def test_a_message_that_was_deleted_costs_one_request_and_has_no_text(
    portkey_connection: Any, serve_list: Callable[..., Any], requests_mock: Any
) -> None:
    serve_list(MESSAGES, [message(1, "one"), message(3, "three")])
    gone = requests_mock.get(
        f"https://portkey.test/v1{MESSAGES}/msg_2", status_code=404, json={"error": {"message": "No message"}}
    )
    joined = texts()

    assert [joined.of(step(number)) for number in (1, 2, 3)] == ["one", None, "three"]
    assert gone.call_count == 1


def test_a_message_that_the_list_does_not_show_is_fetched_by_its_id(
    portkey_connection: Any, serve_list: Callable[..., Any], requests_mock: Any
) -> None:
    serve_list(MESSAGES, [])
    requests_mock.get(f"https://portkey.test/v1{MESSAGES}/msg_1", json=message(1, "hidden"))

    assert texts().of(step(1)) == "hidden"


def test_an_error_that_is_not_about_a_lost_message_comes_out(
    portkey_connection: Any, serve_list: Callable[..., Any], requests_mock: Any
) -> None:
    serve_list(MESSAGES, [])
    requests_mock.get(f"https://portkey.test/v1{MESSAGES}/msg_1", status_code=403, json={})

    with pytest.raises(exceptions.PortkeyPermissionDeniedError):
        texts().of(step(1))


def test_steps_in_another_order_than_their_messages_get_their_texts(
    portkey_connection: Any, serve_list: Callable[..., Any]
) -> None:
    served = serve_list(MESSAGES, [message(number, f"text {number}") for number in range(150)])
    joined = texts()
    shuffled = [140, 3, 149, 0, 77]

    assert [joined.of(step(number)) for number in shuffled] == [f"text {number}" for number in shuffled]
    assert served.call_count == 2


def test_no_more_messages_are_kept_than_two_pages(
    portkey_connection: Any, serve_list: Callable[..., Any], requests_mock: Any
) -> None:
    listed = serve_list(MESSAGES, [message(number, f"text {number}") for number in range(1_000)])
    single = {
        number: requests_mock.get(
            f"https://portkey.test/v1{MESSAGES}/msg_{number}", json=message(number, f"text {number}")
        )
        for number in (999, 998, 0)
    }
    joined = texts()

    assert joined.of(step(999)) == "text 999"
    assert (listed.call_count, single[999].call_count) == (2, 1)
    assert [joined.of(step(number)) for number in range(1, 200)] == [f"text {number}" for number in range(1, 200)]
    assert listed.call_count == 2
    assert joined.of(step(998)) == "text 998"
    assert [joined.of(step(number)) for number in range(200, 400)] == [f"text {number}" for number in range(200, 400)]
    assert listed.call_count == 4
    assert joined.of(step(0)) == "text 0"
    assert {number: one.call_count for number, one in single.items()} == {999: 1, 998: 1, 0: 1}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], None),
        (None, None),
        ([{"type": "text", "text": {"value": "a"}}, {"type": "text", "text": {"value": "b"}}], "a\nb"),
        ([{"type": "image_file", "image_file": {"file_id": "f"}}], None),
        ([{"type": "image_file"}, {"type": "text", "text": {"value": "behind it"}}], "behind it"),
        ([{"type": "text", "text": {"value": ""}}], ""),
        ([{"type": "text", "text": {"value": None}}], None),
        ([{"type": "text", "text": "plain"}, "odd", None], None),
    ],
)
def test_the_text_of_a_message_is_that_of_its_text_parts(
    portkey_connection: Any, serve_list: Callable[..., Any], content: Any, text: str | None
) -> None:
    serve_list(MESSAGES, [{"id": "msg_1", "content": content}])

    assert texts().of(step(1)) == text
