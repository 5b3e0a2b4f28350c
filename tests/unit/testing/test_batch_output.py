from __future__ import annotations

import json
import tracemalloc

import pytest

from airflow_provider_portkey.testing.rooms.batch_input import CountedInput, FileInput
from airflow_provider_portkey.testing.rooms.batch_output import BatchOutput, Shuffle
from airflow_provider_portkey.testing.spool import BLOCK, Spool, Texts, spooled_lines

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 100, 1618, 4096])
def test_a_shuffle_has_every_number_once_in_another_order(length: int) -> None:
    shuffle = Shuffle(length)
    order = [shuffle.at(rank) for rank in range(length)]
    assert sorted(order) == list(range(length))
    assert length < 2 or order != list(range(length))
    assert [shuffle.rank(number) for number in order] == list(range(length))


def test_many_lines_take_no_memory() -> None:
    output = BatchOutput(CountedInput(20_000, CHAT), CHAT)
    tracemalloc.start()
    try:
        lines = sum(1 for _ in output.lines(20_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == 20_000
    assert peak < 200_000


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [(CHAT, "chat.completion"), ("/v1/embeddings", "list"), ("/v1/responses", "response")],
)
def test_an_answer_is_of_its_endpoint(endpoint: str, kind: str) -> None:
    (line,) = BatchOutput(CountedInput(1, endpoint), endpoint).lines(1)
    assert json.loads(line)["response"]["body"]["object"] == kind


@pytest.mark.parametrize("custom_id", ['"quoted"', "back\\slash", "Ünïcode 漢字", "\ud800", "a\nb", ""])
def test_any_id_comes_back_as_it_was(custom_id: str) -> None:
    line = json.dumps({"custom_id": custom_id, "url": CHAT, "body": {"model": "m"}})
    requests = FileInput(Spool.filled([line.encode() + b"\n"]), CHAT)
    (answered,) = BatchOutput(requests, CHAT).lines(1)
    assert json.loads(answered)["custom_id"] == custom_id
    (failed,) = BatchOutput(requests, CHAT, failing=[custom_id]).error_lines(1, expired=False)
    assert json.loads(failed)["custom_id"] == custom_id


def test_failures_are_counted_among_what_is_done() -> None:
    failing = [f"request-{number:06d}" for number in range(1, 101, 10)]
    output = BatchOutput(CountedInput(100, CHAT), CHAT, failing=failing)
    for done in (0, 1, 37, 100):
        lines, errors = list(output.lines(done)), list(output.error_lines(done, expired=False))
        assert (len(errors), len(lines) + len(errors)) == (output.failed(done), done)
    assert output.failed(100) == 10


def test_lines_may_lie_across_blocks_and_end_without_an_end() -> None:
    written = [b"x" * (BLOCK - 3), b"abcdef", b"y" * (2 * BLOCK), b"last"]
    spool = Spool.filled([b"\n \n".join(written)])
    assert list(spooled_lines(spool)) == written
    assert b"".join(spool.blocks(5, BLOCK + 9)) == spool.read(5, BLOCK + 9)


def test_texts_are_packed() -> None:
    texts = Texts()
    for text in ("", "ä", "bc", ""):
        texts.append(text)
    assert [texts[number] for number in range(len(texts))] == ["", "ä", "bc", ""]
