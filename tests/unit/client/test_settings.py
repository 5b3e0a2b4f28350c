from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.client.settings import ConnectionSettings, read_settings
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError


def headers_of(**fields: Any) -> dict[str, str]:
    extra = fields.pop("extra", None) or {}
    return dict(read_settings(**fields, extra=extra).headers)


def test_a_connection_without_fields_has_the_defaults() -> None:
    settings = read_settings()

    assert settings.base_url == "https://api.portkey.ai/v1"
    assert dict(settings.headers) == {"OpenAI-Beta": "assistants=v2"}
    assert settings.query == ()
    assert (settings.connect_timeout, settings.read_timeout, settings.max_retries) == (10.0, 60.0, 4)
    assert settings.verify is True
    assert settings.secrets == ()


@pytest.mark.parametrize(
    ("extra", "headers"),
    [
        ({"provider": "@openai-prod"}, {"x-portkey-provider": "@openai-prod"}),
        (
            {"provider": "openai", "provider_api_key": "sk-provider"},
            {"x-portkey-provider": "openai", "Authorization": "Bearer sk-provider"},
        ),
        ({"config": "pc-prod-1a2b"}, {"x-portkey-config": "pc-prod-1a2b"}),
        ({"config": {"retry": {"attempts": 2}}}, {"x-portkey-config": '{"retry": {"attempts": 2}}'}),
        ({"config": '{"provider":"öl"}'}, {"x-portkey-config": '{"provider": "\\u00f6l"}'}),
        (
            {"provider": "openai", "custom_host": "http://models.internal/v1", "provider_api_key": "sk-provider"},
            {
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": "http://models.internal/v1",
                "Authorization": "Bearer sk-provider",
            },
        ),
        ({"virtual_key": "vk-prod-1"}, {"x-portkey-virtual-key": "vk-prod-1"}),
    ],
)
def test_each_way_of_naming_the_provider_has_its_headers(extra: dict[str, Any], headers: dict[str, str]) -> None:
    assert headers_of(api_key="pk-1", extra=extra) == {
        "OpenAI-Beta": "assistants=v2",
        "x-portkey-api-key": "pk-1",
        **headers,
    }


@pytest.mark.parametrize("pasted", ["pk-secret\n", "  pk-secret", "\r\npk-secret \t"])
def test_white_space_around_pasted_keys_is_stripped(pasted: str) -> None:
    headers = headers_of(
        api_key=pasted, extra={"provider_api_key": pasted, "virtual_key": pasted, "provider": pasted, "config": pasted}
    )

    assert headers["x-portkey-api-key"] == "pk-secret"
    assert headers["Authorization"] == "Bearer pk-secret"
    assert headers["x-portkey-virtual-key"] == "pk-secret"
    assert headers["x-portkey-provider"] == "pk-secret"
    assert headers["x-portkey-config"] == "pk-secret"


def test_provider_key_pasted_with_its_scheme_keeps_one() -> None:
    assert headers_of(extra={"provider_api_key": "Bearer sk-1"})["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("unset", [None, "", "   "])
def test_fields_left_empty_are_not_sent(unset: str | None) -> None:
    names = ("provider", "virtual_key", "config", "provider_api_key", "custom_host", "metadata", "headers", "query")
    numbers = ("connect_timeout", "read_timeout", "max_retries", "verify")

    assert read_settings(api_key=unset, extra=dict.fromkeys((*names, *numbers), unset)) == read_settings()


@pytest.mark.parametrize(
    "custom_host", ["http://localhost:1234/v1/", "http://localhost:1234/v1//", "http://localhost:1234/v1"]
)
def test_custom_host_loses_its_trailing_slash(custom_host: str) -> None:
    assert headers_of(extra={"custom_host": custom_host})["x-portkey-custom-host"] == "http://localhost:1234/v1"


@pytest.mark.parametrize("as_string", [False, True])
def test_json_fields_are_read_parsed_and_as_string(as_string: bool) -> None:
    fields: dict[str, Any] = {
        "metadata": {"team": "dätä"},
        "headers": {"x-portkey-trace-id": "t-1"},
        "query": {"api-version": "2025-05-15-preview", "flag": True, "n": 5, "many": ["a", "b"]},
    }
    settings = read_settings(extra={name: json.dumps(value) if as_string else value for name, value in fields.items()})

    assert dict(settings.headers)["x-portkey-metadata"] == '{"team": "d\\u00e4t\\u00e4"}'
    assert dict(settings.headers)["x-portkey-trace-id"] == "t-1"
    assert settings.query == (
        ("api-version", "2025-05-15-preview"),
        ("flag", "true"),
        ("n", "5"),
        ("many", "a"),
        ("many", "b"),
    )


def test_own_headers_win_whatever_their_case() -> None:
    headers = headers_of(
        api_key="pk-1", extra={"headers": {"X-Portkey-Api-Key": "other", "openai-beta": "assistants=v1"}}
    )

    assert headers == {"X-Portkey-Api-Key": "other", "openai-beta": "assistants=v1"}


def test_white_space_around_the_values_of_own_headers_is_stripped() -> None:
    assert headers_of(extra={"headers": {"api-key": " sk-pasted "}})["api-key"] == "sk-pasted"


def test_every_wrong_field_is_named_in_one_error() -> None:
    extra = {
        "provider": "öpenai",
        "virtual_key": "vk-sécret",
        "config": "{broken",
        "provider_api_key": "sk-two\nlines",
        "custom_host": "models.internal",
        "metadata": "[]",
        "headers": {"no name": "hidden-value"},
        "query": "nothing",
        "connect_timeout": 0,
        "read_timeout": "fast",
        "max_retries": 21,
        "verify": "/no/such/bundle",
    }
    with pytest.raises(PortkeyConnectionInvalidError) as raised:
        read_settings(host="ftp://gw.corp", api_key="pk-sécret", extra=extra)

    message = str(raised.value)
    for name in ("host", "password", *extra):
        assert f" {name}: expected " in message
    for shown in ("'ftp://gw.corp'", "'öpenai'", "'models.internal'", "'fast'", "value is 21", "'/no/such/bundle'"):
        assert shown in message
    for hidden in ("pk-sécret", "vk-sécret", "{broken", "sk-two", "lines", "hidden-value"):
        assert hidden not in message


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("metadata", {"team": "x" * 129}, "at most 128 characters as the value of 'team'"),
        ("metadata", {"team": 5}, "a string of at most 128 characters as the value of 'team'"),
        ("metadata", {"team": None}, "as the value of 'team'"),
        ("metadata", '{"team"', "metadata: expected a JSON object"),
        ("metadata", 5, "metadata: expected a JSON object"),
        ("headers", "[1]", "headers: expected a JSON object"),
        ("headers", {"a:b": "c"}, "the name of a header in place of 'a:b'"),
        ("headers", {"": "c"}, "the name of a header in place of ''"),
        ("headers", {"a": "b\r\nevil: 1"}, "on one line as the value of 'a'"),
        ("headers", {"a": 1}, "printable ASCII characters on one line as the value of 'a'"),
        ("query", {"a": {"b": 1}}, "a list of these as the value of 'a'"),
        ("query", {"a": None}, "a list of these as the value of 'a'"),
        ("query", {"a": [["b"]]}, "a list of these as the value of 'a'"),
        ("config", "[]", "config: expected a JSON object"),
        ("custom_host", "ftp://models", "an http or https URL"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(field: str, value: Any, expected: str) -> None:
    with pytest.raises(PortkeyConnectionInvalidError) as raised:
        read_settings(extra={field: value})

    assert expected in str(raised.value)


def test_metadata_of_the_maximum_length_is_sent() -> None:
    assert json.loads(headers_of(extra={"metadata": {"team": "x" * 128}})["x-portkey-metadata"]) == {"team": "x" * 128}


@pytest.mark.parametrize("field", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize(("value", "seconds"), [(0.1, 0.1), ("5", 5.0), (" 2.5 ", 2.5), (3600, 3600.0)])
def test_time_outs_are_read_as_numbers_and_as_string(field: str, value: Any, seconds: float) -> None:
    assert getattr(read_settings(extra={field: value}), field) == seconds


@pytest.mark.parametrize("field", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize("value", [0, -1, 3600.1, "nan", "inf", float("nan"), True, "soon", [5]])
def test_time_outs_out_of_bounds_are_refused(field: str, value: Any) -> None:
    with pytest.raises(
        PortkeyConnectionInvalidError, match=f"{field}: expected a number of seconds above 0, at most 3600"
    ):
        read_settings(extra={field: value})


def test_a_time_out_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(PortkeyConnectionInvalidError):
        read_settings(extra={"read_timeout": 10**400})


@pytest.mark.parametrize(("value", "count"), [(0, 0), ("0", 0), (" 7 ", 7), (20, 20)])
def test_max_retries_is_read_as_number_and_as_string(value: Any, count: int) -> None:
    assert read_settings(extra={"max_retries": value}).max_retries == count


@pytest.mark.parametrize("value", [-1, 21, "21", 1.5, "2.0", True, False, "many", "²"])
def test_max_retries_out_of_bounds_is_refused(value: Any) -> None:
    with pytest.raises(PortkeyConnectionInvalidError, match="max_retries: expected a whole number from 0 to 20"):
        read_settings(extra={"max_retries": value})


@pytest.mark.parametrize(
    ("value", "verify"),
    [(True, True), (False, False), ("true", True), ("FALSE", False), (" False ", False), (None, True), ("", True)],
)
def test_verify_is_read_as_boolean_and_as_string(value: Any, verify: bool) -> None:
    assert read_settings(extra={"verify": value}).verify is verify


def test_verify_may_be_the_path_of_a_bundle_that_exists(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    with pytest.raises(PortkeyConnectionInvalidError, match=r"verify: expected true, false, or the path"):
        read_settings(extra={"verify": str(bundle)})

    bundle.touch()

    assert read_settings(extra={"verify": str(bundle)}).verify == str(bundle)


def everything_secret() -> ConnectionSettings:
    return read_settings(
        api_key="pk-portkey-key",
        extra={
            "virtual_key": "vk-virtual",
            "provider_api_key": "Bearer sk-provider-key",
            "config": {
                "strategy": {"mode": "loadbalance"},
                "targets": [
                    {"provider": "openai", "api_key": "sk-nested-one", "weight": 0.5},
                    {"provider": "bedrock", "aws_secret_access_key": 'aws"quoted\\key'},
                ],
            },
            "headers": {
                "api-key": "azure-header-key",
                "x-portkey-azure-resource-name": "resource-in-clear",
                "x-portkey-config": '{"api_key": "sk-in-header-config"}',
                "Cookie": "session=cookie-value",
            },
            "query": {"subscription-key": "query-key-value", "api-version": "version-in-clear"},
        },
    )


SECRETS = [
    "pk-portkey-key",
    "vk-virtual",
    "sk-provider-key",
    "sk-nested-one",
    'aws"quoted\\key',
    "azure-header-key",
    "sk-in-header-config",
    "session=cookie-value",
    "query-key-value",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_every_credential_is_a_secret_and_redacted(secret: str) -> None:
    settings = everything_secret()

    assert secret in settings.secrets
    assert settings.redact(f"<{secret}>") == "<***>"


@pytest.mark.parametrize(
    "in_clear",
    [
        "openai",
        "loadbalance",
        "version-in-clear",
        "assistants=v2",
        "resource-in-clear",
    ],
)
def test_a_value_that_is_no_credential_is_not_redacted(in_clear: str) -> None:
    assert everything_secret().redact(in_clear) == in_clear


def test_a_secret_in_json_is_redacted() -> None:
    redacted = everything_secret().redact(json.dumps({"message": 'bad key aws"quoted\\key, sorry'}))

    assert json.loads(redacted) == {"message": "bad key ***, sorry"}


def test_a_secret_that_contains_another_is_redacted_as_a_whole() -> None:
    settings = read_settings(api_key="pk-secret", extra={"virtual_key": "pk-secret-longer"})

    assert settings.redact("pk-secret-longer pk-secret") == "*** ***"


def test_words_too_short_to_be_secrets_are_not_redacted() -> None:
    assert read_settings(api_key="key").redact("the key was refused") == "the key was refused"


def test_a_key_that_is_a_json_number_is_a_secret() -> None:
    settings = read_settings(extra={"virtual_key": 12345678})
    assert dict(settings.headers)["x-portkey-virtual-key"] == "12345678"

    assert "12345678" in settings.secrets


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_settings_show_no_secret_themselves(show: Any) -> None:
    shown = show(everything_secret())

    assert not re.search("|".join(map(re.escape, SECRETS)), shown)
    assert "https://api.portkey.ai/v1" in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "https://user:hidden-word@gw.corp"),
        ("custom_host", "user:hidden-word@models"),
        ("headers", '{"Authorization": "Bearer hidden-word"'),
        ("headers", {"Authorization": "hidden-word\u00e9"}),
        ("query", '{"key": "hidden-word"'),
        ("config", '{"api_key": "hidden-word"'),
        ("host", "https://gw.corp/v1?code=hidden-word"),
    ],
)
def test_a_refused_value_that_may_hold_a_secret_is_not_shown(field: str, value: Any) -> None:
    fields = {"host": value} if field == "host" else {"extra": {field: value}}
    with pytest.raises(PortkeyConnectionInvalidError, match=f"{field}: expected") as raised:
        read_settings(**fields)

    assert "hidden-word" not in str(raised.value)


def test_equal_connections_have_equal_hashable_settings() -> None:
    assert {everything_secret()} == {everything_secret()}
    assert everything_secret() != read_settings(api_key="pk-portkey-key")


def test_an_attempt_may_take_the_time_to_connect_and_to_read() -> None:
    assert read_settings(extra={"connect_timeout": 3, "read_timeout": 4}).attempt_timeout == 7


def test_a_trace_id_is_a_header() -> None:
    plain = read_settings(api_key="pk-key")
    traced = plain.with_trace_id("t-1")

    assert (plain.trace_id, plain.with_trace_id(None)) == (None, plain)
    assert (traced.trace_id, dict(traced.headers)["x-portkey-trace-id"]) == ("t-1", "t-1")


def test_the_trace_id_of_the_connection_wins() -> None:
    own = read_settings(api_key="pk-key", extra={"headers": {"X-Portkey-Trace-ID": "own"}})

    assert own.with_trace_id("t-1") is own
    assert own.trace_id == "own"


def test_a_url_has_the_query_of_the_connection_before_that_of_the_request() -> None:
    settings = read_settings(host="localhost:8787", extra={"query": {"v": "1"}})

    assert settings.url("/models", [("after", "a&b")]) == "http://localhost:8787/v1/models?v=1&after=a%26b"
    assert read_settings(host="localhost").url("/models") == "http://localhost/v1/models"


def test_settings_for_a_signed_url_have_its_secrets_and_nothing_to_send() -> None:
    url = "https://store.test:9000/logs.jsonl?X-Amz-Expires=600&X-Amz-Signature=0123456789%2Fsecret"
    settings = everything_secret().for_signed_url(url)

    assert settings.base_url == "https://store.test:9000"
    assert (settings.headers, settings.query) == ((), ())
    assert settings.redact("600 0123456789%2Fsecret 0123456789/secret pk-portkey-key") == "600 *** *** ***"
    assert settings.redact(f"no {url}") == "no https://store.test:9000/logs.jsonl?***"


@pytest.mark.parametrize("given", [{"X-Api-Key": "secret-value"}, '{"X-Api-Key": "secret-value"}'])
def test_secret_headers_are_sent_and_every_value_is_a_secret(given: Any) -> None:
    extra = {"headers": {"x-api-key": "plain", "x-own": "shown-value"}, "secret_headers": given}

    settings = read_settings(extra=extra)

    headers = dict(settings.headers)
    assert (headers["X-Api-Key"], headers["x-own"]) == ("secret-value", "shown-value")
    assert "x-api-key" not in headers
    assert "secret-value" in settings.secrets
    assert "shown-value" not in settings.secrets
    assert settings.redact("a secret-value of x") == "a *** of x"


@pytest.mark.parametrize("port", [-1, 65536, 10**9, "http", 1.5, True])
def test_a_port_that_cannot_be_is_refused_by_its_name(port: Any) -> None:
    with pytest.raises(PortkeyConnectionInvalidError, match=r"port: expected a port from 1 to 65535"):
        read_settings(host="gw.corp", port=port)


@pytest.mark.parametrize("custom_host", ["http://a..b", "http://models:65536/v1", "http://mod\\els"])
def test_a_custom_host_that_cannot_be_is_refused_by_its_name(custom_host: str) -> None:
    with pytest.raises(PortkeyConnectionInvalidError, match=r"custom_host: expected"):
        read_settings(extra={"custom_host": custom_host})


@pytest.mark.parametrize(
    ("extra", "warning"),
    [
        ({"providr": "openai"}, "Unknown field in extra, not used: 'providr' (did you mean 'provider'?)."),
        (
            {"extra__portkey__config": "pc-1", "Virtual_Key": "vk", "zzz": 1},
            "Unknown fields in extra, not used: 'extra__portkey__config' (did you mean 'config'?), "
            "'Virtual_Key' (did you mean 'virtual_key'?), 'zzz'.",
        ),
        ({"password": "pk"}, "Unknown field in extra, not used: 'password'."),
    ],
)
def test_unknown_fields_are_a_warning_that_names_the_nearest_field(extra: dict[str, Any], warning: str) -> None:
    assert read_settings(extra=extra).warnings == (warning,)


@pytest.mark.parametrize(
    ("host", "extra", "warning"),
    [
        ("http://gw.corp", {}, "http://gw.corp/v1 has no TLS"),
        ("https://gw.corp", {"verify": False}, "verify is false"),
        ("http://localhost:8787", {"verify": False}, None),
        ("http://127.0.0.2", {}, None),
        ("https://gw.corp", {"verify": True}, None),
    ],
)
def test_what_puts_the_keys_at_risk_is_a_warning(host: str, extra: dict[str, Any], warning: str | None) -> None:
    warnings = read_settings(host=host, extra=extra).warnings

    assert len(warnings) == (warning is not None)
    assert warning is None or warnings[0].startswith(warning)


def test_warnings_do_not_keep_equal_connections_from_sharing_a_session() -> None:
    assert read_settings(extra={"providr": "a"}) == read_settings()


@pytest.mark.parametrize(
    ("extra", "header"),
    [
        ({}, "false"),
        ({"log_polls": False}, "false"),
        ({"log_polls": "true"}, None),
        ({"log_polls": True}, None),
        ({"headers": {"X-Portkey-Debug": "true"}}, None),
    ],
)
def test_bodies_of_gets_are_not_logged_unless_the_connection_says_so(extra: dict[str, Any], header: str | None) -> None:
    settings = read_settings(extra=extra)

    assert settings.request_headers("GET", False).get("x-portkey-debug") == header
    assert "x-portkey-debug" not in settings.request_headers("POST", True)


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(PortkeyConnectionInvalidError, match=r"log_polls: expected true or false"):
        read_settings(extra={"log_polls": "maybe"})
