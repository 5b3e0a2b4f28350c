from __future__ import annotations

from urllib.parse import unquote

import pytest

from airflow_provider_portkey.client.paths import expand_path
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


def test_an_id_that_utf8_cannot_encode_is_refused_by_name() -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^run_id="):
        expand_path("/runs/{run_id}", {"run_id": "run_\ud800"})


def test_a_path_without_ids_is_unchanged() -> None:
    assert expand_path("/models", {}) == "/models"
