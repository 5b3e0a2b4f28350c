from __future__ import annotations

from urllib.parse import unquote

import pytest

from airflow_provider_portkey.client.paths import expand_path, is_encoded, same_id
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("thread_abc123", "thread_abc123"),
        ("a/../b", "a%2F..%2Fb"),
        ("../models", "..%2Fmodels"),
        ("...", "..."),
        ("..\t", "..%09"),
        ("%2e%2e", "%252e%252e"),
        ("%2F", "%252F"),
        ("100%", "100%25"),
        ("a%zz%3Ab", "a%25zz%253Ab"),
        ("s3://b/in.jsonl", "s3%3A%2F%2Fb%2Fin.jsonl"),
        ("s3%3A%2F%2Fb/in.jsonl", "s3%253A%252F%252Fb%2Fin.jsonl"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\\b", "a%5Cb"),
        ("a b\n", "a%20b%0A"),
        ("a;b&c=d+e", "a%3Bb%26c%3Dd%2Be"),
        ("{run_id}", "%7Brun_id%7D"),
        ("järn", "j%C3%A4rn"),
        ("线程", "%E7%BA%BF%E7%A8%8B"),
    ],
)
def test_an_id_stays_within_its_segment(value: str, segment: str) -> None:
    expanded = expand_path("/threads/{thread_id}/runs/{run_id}", {"thread_id": value, "run_id": "run_1"})

    assert expanded == f"/threads/{segment}/runs/run_1"
    assert unquote(expanded.split("/")[2]) == value


@pytest.mark.parametrize("value", ["", " ", "\n", ".", "..", None, 5, b"thread_1", ["thread_1"], True])
def test_an_invalid_id_is_refused_by_name(value: object) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^run_id=.*a Portkey id"):
        expand_path("/threads/{thread_id}/runs/{run_id}", {"thread_id": "thread_1", "run_id": value})


def test_an_id_whose_template_rendered_to_nothing_is_refused_before_a_request() -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^run_id='None' .*rendered to nothing"):
        expand_path("/runs/{run_id}", {"run_id": "None"})


def test_an_id_that_utf8_cannot_encode_is_refused_by_name() -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^run_id="):
        expand_path("/runs/{run_id}", {"run_id": "run_\ud800"})


def test_a_path_without_ids_is_unchanged() -> None:
    assert expand_path("/models", {}) == "/models"


ENCODED = [
    "arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3Amodel-invocation-job%2Fabc123",
    "s3%3A%2F%2Fbucket%2Fin%2Frequests.jsonl",
    "s3%3A%2F%2Fbucket%2Fout%2F",
    "gs%3A%2F%2Fbucket%2Fa%20b%2Fj%C3%A4rn%2F100%25.jsonl",
    "gs%3a%2f%2fbucket%2fin.jsonl",
    "s3%3A%2F%2Fb%2F(1)*%2F~x'!.jsonl",
]


@pytest.mark.parametrize("value", ENCODED)
def test_an_id_that_arrived_encoded_is_passed_on_as_it_is(value: str) -> None:
    assert is_encoded(value)
    assert expand_path("/batches/{batch_id}/cancel", {"batch_id": value}) == f"/batches/{value}/cancel"


@pytest.mark.parametrize(
    "value",
    [
        "..%2F..%2Fmodels",
        "%2e%2e%2Fmodels",
        "%2Fmodels",
        "a%2F..%2F..%2Fmodels",
        "a%2F%2e%2e%2Fmodels",
        "a%2F%252e%252e%2Fmodels",
        "a%2F%25252e%25252e%2Fmodels",
        "a%2F..",
        "a%5C..%5Cmodels%3A",
        "s3%3A%2F%2Fb%2F.%2Fin.jsonl",
        "a%3A%0D%0AHost%3A%20evil",
        "a%3A%00",
        "a%3A%FF",
        "a%3A%",
        "a%3A%4",
        "a%3Ab?x=1",
        "a%3Ab#c",
        "a%3Ab/../c",
        "a%3Ab c",
        "run_1%2Drun",
        "run_1",
    ],
)
def test_everything_else_is_quoted_and_stays_within_its_segment(value: str) -> None:
    assert not is_encoded(value)
    expanded = expand_path("/batches/{batch_id}/cancel", {"batch_id": value})
    assert expanded.count("/") == 3
    assert unquote(expanded.split("/")[2]) == value
    assert not {"?", "#", "\\", " "} & set(expanded)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("run_1", "run_1", True),
        ("arn%3Aaws", "arn:aws", True),
        ("s3%3a%2F", "s3%3A%2f", True),
        ("run_1", "run_2", False),
        ("run_1", None, False),
        (None, None, False),
        (["run_1"], ["run_1"], False),
        ("1", 1, False),
    ],
)
def test_ids_are_the_same_encoded_or_not(one: object, other: object, same: bool) -> None:
    assert same_id(one, other) is same
