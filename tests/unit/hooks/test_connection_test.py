from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_portkey.hooks.portkey import PortkeyHook

MODELS = "https://portkey.test/v1/models"
KEY = "pk-test-secret"


def portkey_error(message: str) -> dict[str, Any]:
    return {"status": "failure", "message": message}


def provider_error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def test_a_valid_connection_names_its_url_and_its_models(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(MODELS, json={"object": "list", "data": [{"id": "gpt"}, {"id": "claude"}]})

    assert PortkeyHook().test_connection() == (True, "Connected to https://portkey.test/v1: it lists 2 models.")
    (request,) = requests_mock.request_history
    assert request.headers["x-portkey-fetch-integrated-models"] == "true"
    assert request.headers["x-portkey-api-key"] == KEY
    assert request.headers["x-portkey-provider"] == "@openai-prod"
    assert request.timeout == (10.0, 60.0)


def test_the_query_of_the_connection_is_sent(portkey_connection: Callable[..., None], requests_mock: Any) -> None:
    portkey_connection(extra={"provider": "azure", "query": {"api-version": "2025"}})
    requests_mock.get(f"{MODELS}?api-version=2025", json={"data": []})

    assert PortkeyHook().test_connection() == (True, "Connected to https://portkey.test/v1: it lists 0 models.")


@pytest.mark.parametrize(
    ("response", "works", "parts"),
    [
        (
            {"status_code": 401, "json": portkey_error(f"Invalid API Key {KEY}")},
            False,
            ["Portkey refused the Portkey API key (401): Invalid API Key ***"],
        ),
        (
            {"status_code": 403, "json": {"success": False, "data": {"message": "No scope", "errorCode": "AB03"}}},
            False,
            ["Portkey refused the Portkey API key (403): No scope (AB03)"],
        ),
        (
            {"status_code": 401, "json": provider_error(f"Incorrect API key provided: {KEY}")},
            False,
            ["The provider behind Portkey refused the provider's own key (401): Incorrect API key provided: ***"],
        ),
        (
            {"status_code": 400, "json": portkey_error("Invalid provider passed")},
            False,
            ["knows no such provider", "Invalid provider passed"],
        ),
        (
            {"status_code": 404, "json": provider_error("Unknown URL")},
            True,
            ["Connected to https://portkey.test/v1", "no list of models", "untested"],
        ),
        (
            {"status_code": 404, "text": f"<html>{KEY}</html>"},
            False,
            ["https://portkey.test/v1 responds, but not like a Portkey gateway (404)"],
        ),
        (
            {"status_code": 200, "text": f"<html>Log in {KEY}</html>"},
            False,
            ["responds, but not like a Portkey gateway (200): '<html>Log in ***</html>'"],
        ),
        ({"status_code": 200, "json": {"hello": KEY}}, False, ["not like a Portkey gateway: its /models"]),
        ({"status_code": 200, "json": {"data": {}}}, False, ["not like a Portkey gateway: its /models"]),
        (
            {"status_code": 302, "headers": {"Location": "https://login.corp/"}},
            False,
            ["responds, but not like a Portkey gateway (302)"],
        ),
        (
            {"status_code": 401, "text": "Proxy says no"},
            False,
            ["not like a Portkey gateway (401): 'Proxy says no'"],
        ),
        (
            {"status_code": 500, "text": "Message: fetch failed Cause: refused"},
            False,
            ["https://portkey.test/v1 responds with 500: 'Message: fetch failed Cause: refused'"],
        ),
        ({"status_code": 503, "text": "down"}, False, ["responds with 503: 'down'"]),
        ({"status_code": 429, "json": provider_error("Slow down")}, False, ["responds with 429: Slow down"]),
        ({"status_code": 412, "json": portkey_error("Budget spent")}, False, ["responds with 412: Budget spent"]),
        (
            {"exc": requests.ConnectTimeout("timed out")},
            False,
            ["https://portkey.test/v1 cannot be reached", "timed out"],
        ),
    ],
)
def test_each_result_is_one_sentence_without_secrets(
    portkey_connection: Any,
    requests_mock: Any,
    waits: list[float],
    response: dict[str, Any],
    works: bool,
    parts: list[str],
) -> None:
    requests_mock.get(MODELS, [response])

    works_now, sentence = PortkeyHook().test_connection()

    assert works_now is works
    for part in parts:
        assert part in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 300
    assert KEY not in sentence
    assert requests_mock.call_count == 1
    assert waits == []


def test_a_result_is_short(portkey_connection: Any, requests_mock: Any) -> None:
    requests_mock.get(MODELS, status_code=401, json=portkey_error("x" * 100_000))

    assert len(PortkeyHook().test_connection()[1]) < 1_200


def test_an_invalid_connection_is_a_result(portkey_connection: Callable[..., None], requests_mock: Any) -> None:
    portkey_connection(password="pk-sécret-key", extra={"verify": "maybe", "query": "[]"})

    works, sentence = PortkeyHook().test_connection()

    assert works is False
    assert "verify: expected true, false" in sentence
    assert "query: expected a JSON object" in sentence
    assert "password: expected" in sentence
    assert "sécret" not in sentence
    assert requests_mock.call_count == 0


def test_a_missing_connection_is_a_result(requests_mock: Any) -> None:
    works, sentence = PortkeyHook("portkey_nowhere").test_connection()

    assert works is False
    assert "portkey_nowhere" in sentence
    assert "\n" not in sentence


def test_a_connection_that_is_no_json_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps({"conn_type": "portkey", "extra": "{broken"}))

    works, sentence = PortkeyHook().test_connection()

    assert works is False
    assert sentence


def test_unknown_fields_are_named_whatever_the_result(
    portkey_connection: Callable[..., None], requests_mock: Any
) -> None:
    portkey_connection(extra={"providr": "openai", "extra__portkey__config": "pc-1"})
    requests_mock.get(MODELS, [{"json": {"data": []}}, {"status_code": 503, "text": "down"}])

    for works in (True, False):
        result, sentences = PortkeyHook().test_connection()
        assert result is works
        assert sentences.endswith(
            "Unknown fields in extra, not used: 'providr' (did you mean 'provider'?), "
            "'extra__portkey__config' (did you mean 'config'?)."
        )


def test_a_connection_of_another_type_is_a_result(portkey_connection: Callable[..., None]) -> None:
    portkey_connection(conn_type="http")

    expected = "The connection 'portkey_default' is of type 'http', expected 'portkey'."
    assert PortkeyHook().test_connection() == (False, expected)
