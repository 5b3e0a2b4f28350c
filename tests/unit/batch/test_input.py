"""The check of a batch's input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath

from airflow_provider_portkey.batch.input import check_batch_input, open_batch_input
from airflow_provider_portkey.exceptions import PortkeyBatchInputInvalidError

ENDPOINT = "/v1/chat/completions"


def request(custom_id: Any = "a", **changes: Any) -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": {"model": "m"}, **changes}
    return json.dumps({name: value for name, value in line.items() if value is not ...}).encode()


def check(*lines: bytes, **limits: Any) -> int:
    return check_batch_input(lines, endpoint=ENDPOINT, name="in.jsonl", **limits)


def refusal(*lines: bytes, **limits: Any) -> str:
    with pytest.raises(PortkeyBatchInputInvalidError) as raised:
        check(*lines, **limits)
    assert isinstance(raised.value, AirflowFailException)
    return str(raised.value)


def test_good_lines_are_counted() -> None:
    assert check(request("a"), request("b"), request("ü \ud83d\ude00"), request("c") + b"\r") == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (request(...), "has no custom_id"),
        (request(None), "has no custom_id"),
        (request(""), "has custom_id='', which must be a string that is not empty"),
        (request(" \t"), r"has custom_id=' \t', which must be a string that is not empty"),
        (request(7), "has custom_id=7, which must be a string that is not empty"),
        (request(method="GET"), "has method='GET', which must be 'POST'"),
        (request(method="post"), "has method='post', which must be 'POST'"),
        (request(method=...), "has no method"),
        (request(url="/v1/embeddings"), f"has url='/v1/embeddings', which must be the batch's endpoint '{ENDPOINT}'"),
        (request(url=ENDPOINT + "/"), f"has url='{ENDPOINT}/', which must be the batch's endpoint '{ENDPOINT}'"),
        (request(url=...), "has no url"),
        (request(body=...), "has no body"),
        (request(body="{}"), "has body='{}', which must be an object"),
        (request(body=[]), "has body=[], which must be an object"),
        (request(method="GET", body=...), "has method='GET', which must be 'POST'; has no body"),
        (b"", "is blank"),
        (b"[]", "is no JSON object but an array"),
        (b"{", "is no JSON: Expecting property name enclosed in double quotes at character 2"),
        (b'{"a": NaN}', "is no JSON: NaN is no JSON"),
        (b"\xef\xbb\xbf" + request(), "begins with a byte order mark (BOM): save the file as UTF-8 without one"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_its_reason(line: bytes, reason: str) -> None:
    message = refusal(request("first"), line, request("last"))
    assert message == (f"in.jsonl: 1 of 3 lines is no request for {ENDPOINT}. Nothing was sent. Line 2 {reason}.")


def test_a_duplicate_names_the_line_that_has_the_id_first() -> None:
    message = refusal(request("a"), request("b"), request("a"), request("a"))
    assert "Line 3 has the custom_id 'a' of line 1 again." in message
    assert "Line 4 has the custom_id 'a' of line 1 again." in message


def test_all_bad_lines_are_counted_and_the_first_twenty_named() -> None:
    with pytest.raises(PortkeyBatchInputInvalidError) as raised:
        check(request("good"), *[b"x"] * 25)
    assert "25 of 26 lines are no request" in str(raised.value)
    assert str(raised.value).endswith("Line 21 is no JSON: Expecting value at character 1. And 5 more.")
    assert len(raised.value.problems) == 20
    assert raised.value.bad_lines == 25


def test_an_empty_file_is_refused() -> None:
    assert refusal() == "in.jsonl is empty: a batch needs at least one request. Nothing was sent."


def test_a_limit_is_kept_only_where_there_is_one() -> None:
    lines = [request(str(number)) for number in range(3)]
    assert check(*lines) == check(*lines, max_requests=3) == 3
    assert refusal(*lines, max_requests=2) == "in.jsonl has 3 lines, more than max_requests=2. Nothing was sent."


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refusal(request(url="x" * 10_000))) < 400


def test_the_check_holds_no_lines(peak: Callable[[Callable[[], Any]], int]) -> None:
    body = {"text": "x" * 10_000}

    def lines() -> Iterator[bytes]:
        for number in range(3_000):
            yield request(f"request-{number}", body=body)

    taken = peak(lambda: check_batch_input(lines(), endpoint=ENDPOINT))
    assert taken < 2_000_000  # the lines have 30 MB


def test_the_check_holds_no_ids(peak: Callable[[Callable[[], Any]], int]) -> None:
    def check_many(count: int) -> None:
        assert check_batch_input((request(f"request-{number}") for number in range(count)), endpoint=ENDPOINT) == count

    check_many(10)
    assert peak(lambda: check_many(10_000)) < peak(lambda: check_many(2_000)) + 50_000


def inline(custom_id: str = "a", **changes: Any) -> bytes:
    line = {"custom_id": custom_id, "params": {"model": "m"}, **changes}
    return json.dumps({name: value for name, value in line.items() if value is not ...}).encode()


def test_inline_requests_have_params() -> None:
    assert check_batch_input([inline("a"), inline("b")], endpoint=None) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (inline(params=...), "has no params"),
        (inline(params="{}"), "has params='{}', which must be an object"),
        (inline(""), "has custom_id=''"),
    ],
)
def test_a_wrong_inline_request_is_named(line: bytes, reason: str) -> None:
    with pytest.raises(PortkeyBatchInputInvalidError, match="1 of 2 lines is no inline request") as raised:
        check_batch_input([inline("x"), line], endpoint=None)
    assert reason in str(raised.value)


def test_without_the_check_lines_are_counted_and_limited() -> None:
    assert check(b'{"recordId": "1", "modelInput": {}}', b"x", check=False) == 2
    assert "more than max_requests=1" in refusal(b"x", b"y", check=False, max_requests=1)
    assert "is empty" in refusal(check=False)


@pytest.mark.parametrize(
    ("mode", "lines", "is_inline"),
    [
        ("auto", [inline()], True),
        ("auto", [request()], False),
        ("inline", [inline()], True),
        ("file", [request()], False),
    ],
)
def test_the_first_line_decides_how_requests_are_sent(
    tmp_path: Path, mode: str, lines: list[bytes], is_inline: bool
) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    with open_batch_input(ObjectStoragePath(f"file://{tmp_path}/in.jsonl"), endpoint=ENDPOINT, mode=mode) as found:
        assert found.inline is is_inline
        assert list(found.iter_requests()) == list(map(json.loads, lines))


@pytest.mark.parametrize(("mode", "line"), [("inline", request()), ("file", inline()), ("auto", b'{"params": 1}')])
def test_lines_of_another_shape_are_refused(tmp_path: Path, mode: str, line: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(line)
    with (
        pytest.raises(PortkeyBatchInputInvalidError),
        open_batch_input(ObjectStoragePath(f"file://{tmp_path}/in.jsonl"), endpoint=ENDPOINT, mode=mode),
    ):
        pass
