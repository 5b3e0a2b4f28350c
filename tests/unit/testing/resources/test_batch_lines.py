from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.testing.resources.batch_lines import (
    BatchResults,
    generated_requests,
    input_lines,
    parse_input,
)

CHAT = "/v1/chat/completions"


def input_file(folder: Path, *lines: Any) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        (CHAT, "chat.completion"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "list"),
        ("/v1/responses", "response"),
    ],
)
def test_a_response_has_the_shape_of_its_endpoint(endpoint: str, kind: str) -> None:
    (line,) = BatchResults(generated_requests(1), endpoint).output_lines(1)
    assert json.loads(line)["response"]["body"]["object"] == kind


@pytest.mark.parametrize("custom_id", ['"quoted"', "back\\slash", "Ünïcode 漢字", "\ud800", "a\nb", ""])
def test_any_id_is_returned_unchanged(tmp_path: Path, custom_id: str) -> None:
    path = input_file(tmp_path, {"custom_id": custom_id, "url": CHAT, "body": {"model": "m"}})
    requests, errors = parse_input(path, CHAT)
    assert (requests, errors) == ([(custom_id, "m")], [])
    (succeeded,) = BatchResults(requests, CHAT).output_lines(1)
    assert json.loads(succeeded)["custom_id"] == custom_id
    (failed,) = BatchResults(requests, CHAT, failing=[custom_id]).error_lines(1, expired=False)
    assert json.loads(failed)["custom_id"] == custom_id


def test_generated_requests_are_a_valid_input_file(tmp_path: Path) -> None:
    requests = generated_requests(30)
    path = input_file(tmp_path, *(line.decode().strip() for line in input_lines(requests, CHAT)))
    assert parse_input(path, CHAT) == (requests, [])


def test_the_order_differs_from_that_of_the_requests_and_is_always_the_same() -> None:
    requests = generated_requests(100)
    orders = [[json.loads(line)["custom_id"] for line in BatchResults(requests, CHAT).output_lines(100)] for _ in "ab"]
    assert orders[0] == orders[1] != [custom_id for custom_id, _ in requests]
    assert sorted(orders[0]) == [custom_id for custom_id, _ in requests]


def test_failures_are_counted_among_the_processed_requests() -> None:
    failing = [f"request-{number:06d}" for number in range(1, 101, 10)]
    results = BatchResults(generated_requests(100), CHAT, failing=failing)
    for done in (0, 1, 37, 100):
        lines, errors = list(results.output_lines(done)), list(results.error_lines(done, expired=False))
        assert (len(errors), len(lines) + len(errors)) == (results.failed(done), done)
    assert results.failed(100) == 10


def test_errors_name_their_line_and_stop_at_the_tenth(tmp_path: Path) -> None:
    path = input_file(tmp_path, "", *["{"] * 15)
    requests, errors = parse_input(path, CHAT)
    assert (requests, [error["line"] for error in errors]) == ([], list(range(1, 11)))
