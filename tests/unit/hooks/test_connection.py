from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.hooks.connection import to_settings
from airflow_provider_portkey.hooks.portkey import PortkeyHook

FIELDS = get_provider_info()["connection-types"][0]["conn-fields"]


def settings_of(monkeypatch: pytest.MonkeyPatch, connection: str | dict[str, Any]) -> Any:
    value = connection if isinstance(connection, str) else json.dumps(connection)
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", value)
    return PortkeyHook().settings


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        ("portkey://:pk-key@localhost:8787/v1", "http://localhost:8787/v1"),
        ("portkey://:pk-key@localhost:8787", "http://localhost:8787/v1"),
        ("portkey://:pk-key@gw.corp", "https://gw.corp/v1"),
        ("portkey://:pk-key@gw.corp:8443/portkey/v1", "https://gw.corp:8443/portkey/v1"),
        ("portkey://:pk-key@gw.corp/portkey", "https://gw.corp/portkey/v1"),
        (f"portkey://:pk-key@{quote('https://gw.corp/portkey', safe='')}", "https://gw.corp/portkey/v1"),
        (f"portkey://:pk-key@{quote('http://gw.corp:8080/v1', safe='')}/", "http://gw.corp:8080/v1"),
        ("portkey://https://:pk-key@gw.corp:8443/portkey/v1", "https://gw.corp:8443/portkey/v1"),
        ("portkey://http://:pk-key@gw.corp/v1", "http://gw.corp/v1"),
        ("portkey://:pk-key@", "https://api.portkey.ai/v1"),
    ],
)
def test_a_connection_as_uri_names_the_base_url(monkeypatch: pytest.MonkeyPatch, uri: str, base_url: str) -> None:
    settings = settings_of(monkeypatch, uri)

    assert settings.base_url == base_url
    assert dict(settings.headers)["x-portkey-api-key"] == "pk-key"


def test_a_connection_as_uri_has_all_fields_as_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "provider": "openai",
        "provider_api_key": "sk/with+signs=",
        "custom_host": "http://models.internal:8000/v1/",
        "metadata": '{"team": "data & ml"}',
        "headers": '{"x-portkey-trace-id": "t-1"}',
        "query": '{"api-version": "2025-05-15-preview"}',
        "connect_timeout": "2.5",
        "read_timeout": "5",
        "max_retries": "0",
        "verify": "false",
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in extra.items())

    settings = settings_of(monkeypatch, f"portkey://:pk%2Fkey@localhost:8787/v1?{query}")

    assert dict(settings.headers) == {
        "OpenAI-Beta": "assistants=v2",
        "x-portkey-api-key": "pk/key",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": "http://models.internal:8000/v1",
        "Authorization": "Bearer sk/with+signs=",
        "x-portkey-metadata": '{"team": "data & ml"}',
        "x-portkey-trace-id": "t-1",
    }
    assert settings.query == (("api-version", "2025-05-15-preview"),)
    assert (settings.connect_timeout, settings.read_timeout) == (2.5, 5.0)
    assert (settings.max_retries, settings.verify) == (0, False)


@pytest.mark.parametrize("extra_as_string", [False, True])
def test_a_connection_as_json_has_all_fields_typed(monkeypatch: pytest.MonkeyPatch, extra_as_string: bool) -> None:
    extra = {
        "virtual_key": "vk-prod",
        "config": {"retry": {"attempts": 2}},
        "metadata": {"team": "data"},
        "headers": {"x-portkey-trace-id": "t-1"},
        "query": {"api-version": "2025-05-15-preview"},
        "connect_timeout": 2.5,
        "read_timeout": 5,
        "max_retries": 0,
        "verify": False,
        "provider": None,
        "custom_host": "",
    }
    connection = {
        "conn_type": "portkey",
        "host": "localhost",
        "port": 8787,
        "password": " pk-key\n",
        "extra": json.dumps(extra) if extra_as_string else extra,
    }

    settings = settings_of(monkeypatch, connection)

    assert settings.base_url == "http://localhost:8787/v1"
    assert dict(settings.headers) == {
        "OpenAI-Beta": "assistants=v2",
        "x-portkey-api-key": "pk-key",
        "x-portkey-virtual-key": "vk-prod",
        "x-portkey-config": '{"retry": {"attempts": 2}}',
        "x-portkey-metadata": '{"team": "data"}',
        "x-portkey-trace-id": "t-1",
    }
    assert settings.query == (("api-version", "2025-05-15-preview"),)
    assert (settings.connect_timeout, settings.read_timeout) == (2.5, 5.0)
    assert (settings.max_retries, settings.verify) == (0, False)


def test_an_empty_form_means_the_hosted_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"conn_type": "portkey", "extra": dict.fromkeys(FIELDS)})

    assert settings.base_url == "https://api.portkey.ai/v1"
    assert dict(settings.headers) == {"OpenAI-Beta": "assistants=v2"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("{broken", "'extra' is no JSON"),
        ("[1, 2]", "'extra' is no JSON object"),
        ('"text"', "'extra' is no JSON object"),
        ('{"verify": "maybe", "max_retries": "many"}', "max_retries: expected .*; verify: expected"),
    ],
)
def test_an_invalid_connection_names_its_fields(monkeypatch: pytest.MonkeyPatch, extra: str, message: str) -> None:
    # As in the database: Airflow's own parsing of JSON and URI refuses some of these earlier.
    connection = SimpleNamespace(
        conn_id="portkey_default",
        conn_type="portkey",
        host=None,
        port=None,
        schema=None,
        password="pk-key",
        extra=extra,
    )
    monkeypatch.setattr(PortkeyHook, "get_connection", staticmethod(lambda conn_id: connection))

    with pytest.raises(PortkeyConnectionInvalidError, match=message):
        _ = PortkeyHook().settings


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The strings that were passed to Airflow's masking."""
    values: list[str] = []
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", lambda secret, *_: values.append(secret))
    return values


EXTRA = {
    "virtual_key": "vk-virtual",
    "provider_api_key": "sk-provider",
    "config": {"targets": [{"api_key": "sk-nested"}]},
    "headers": {"api-key": "azure-key", "Authorization": "Bearer header-token"},
    "query": {"subscription-key": "query-key"},
}
CREDENTIALS = {"pk-portkey", "vk-virtual", "sk-provider", "sk-nested", "azure-key", "header-token", "query-key"}


def test_every_credential_is_masked_in_airflows_logs(monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    settings_of(monkeypatch, {"conn_type": "portkey", "password": "pk-portkey", "extra": EXTRA})

    assert set(masked) >= CREDENTIALS
    assert not set(masked) & {"portkey", "portkey_default", "", "assistants=v2"}


def test_every_credential_is_masked_when_it_is_read_on_an_event_loop(
    monkeypatch: pytest.MonkeyPatch, masked: list[str]
) -> None:
    connection = {"conn_type": "portkey", "password": "pk-portkey", "extra": EXTRA}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))

    asyncio.run(PortkeyHook().aget_settings())

    assert set(masked) >= CREDENTIALS


def test_every_spelling_of_a_credential_is_masked(monkeypatch: pytest.MonkeyPatch, masked: list[str]) -> None:
    settings_of(monkeypatch, {"conn_type": "portkey", "extra": {"query": {"token": 'a b/"+key'}}})

    assert set(masked) >= {"a%20b%2F%22%2Bkey", "a+b%2F%22%2Bkey", "a%20b%2f%22%2bkey", 'a b/\\"+key'}


@pytest.mark.parametrize("conn_type", ["http", "openai"])
def test_a_connection_of_another_type_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, conn_type: str) -> None:
    expected = f"The connection 'portkey_default' is of type '{conn_type}', expected 'portkey'."
    with pytest.raises(PortkeyConnectionInvalidError, match=expected):
        settings_of(monkeypatch, {"conn_type": conn_type, "password": "pk-portkey"})


def test_a_connection_without_a_type_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PortkeyHook,
        "get_connection",
        staticmethod(
            lambda conn_id: SimpleNamespace(
                conn_id=conn_id, conn_type=None, host=None, port=None, schema=None, password="pk-key", extra=None
            )
        ),
    )

    assert PortkeyHook().settings.base_url == "https://api.portkey.ai/v1"


def test_extra_that_is_no_json_leaves_no_trace_in_the_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = '{"provider_api_key": "sk-hidden",'
    connection = SimpleNamespace(
        conn_id="x", conn_type="portkey", host=None, port=None, schema=None, password=None, extra=extra
    )
    monkeypatch.setattr(PortkeyHook, "get_connection", staticmethod(lambda conn_id: connection))

    with pytest.raises(PortkeyConnectionInvalidError) as raised:
        _ = PortkeyHook().settings

    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_warnings_are_logged_once_for_each_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.hooks.connection._warned", set())
    connection = {"conn_type": "portkey", "host": "http://gw.corp", "extra": {"providr": "x"}}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    lines: list[str] = []
    log = SimpleNamespace(warning=lambda line, *args: lines.append(line % args))
    monkeypatch.setattr(PortkeyHook, "log", log)

    for task in ("task-1", "task-1", "task-2"):
        _ = PortkeyHook(trace_id=task).settings

    assert [line.split(": ", 1)[1][:7] for line in lines] == ["Unknown", "http://"] * 2


def test_the_form_of_older_versions_has_the_same_behaviour() -> None:
    assert PortkeyHook.get_ui_field_behaviour() == {
        "hidden_fields": ["login", "schema"],
        "relabeling": {"password": "Portkey API Key", "host": "Base URL", "port": "Port"},
        "placeholders": get_provider_info()["connection-types"][0]["ui-field-behaviour"]["placeholders"],
    }


@pytest.fixture
def form_libraries(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type]:
    """Stubs of the form libraries of older Airflow versions, which newer ones do not install."""

    class Part:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.args = args
            self.kwargs = kwargs

    parts: dict[str, type] = {}
    for module, names in {
        # Airflow knows no other but those of whole numbers and of true and false, and drops a hook with another.
        "wtforms": ("PasswordField", "StringField"),
        "wtforms.validators": ("Optional",),
        "flask_babel": (),
        "flask_appbuilder": (),
        "flask_appbuilder.fieldwidgets": ("BS3PasswordFieldWidget", "BS3TextAreaFieldWidget", "BS3TextFieldWidget"),
    }.items():
        stub = ModuleType(module)
        for name in names:
            parts[name] = type(name, (Part,), {})
            setattr(stub, name, parts[name])
        stub.lazy_gettext = str  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, stub)
    return parts.__getitem__


def test_the_form_of_older_versions_has_the_same_fields(form_libraries: Callable[[str], type]) -> None:
    widgets = PortkeyHook.get_connection_form_widgets()

    assert list(widgets) == list(FIELDS)
    for name, widget in widgets.items():
        kind = "Text" if name in ("metadata", "headers", "query") else "String"
        kind = "Password" if name in ("virtual_key", "provider_api_key", "secret_headers") else kind
        field_class = "PasswordField" if kind == "Password" else "StringField"
        widget_class = {"Text": "BS3TextAreaFieldWidget", "String": "BS3TextFieldWidget"}
        assert type(widget) is form_libraries(field_class)
        assert type(widget.kwargs["widget"]) is form_libraries(widget_class.get(kind, "BS3PasswordFieldWidget"))
        assert widget.args == (FIELDS[name]["label"],)
        assert widget.kwargs["description"] == FIELDS[name]["description"]
        assert type(widget.kwargs["validators"][0]) is form_libraries("Optional")


def test_an_extra_that_is_already_an_object_is_taken_as_it_is() -> None:
    connection = SimpleNamespace(
        conn_type="portkey", host="https://portkey.test", port=None, schema=None, password="pk-key"
    )
    connection.extra = {"provider": "@openai-prod", "metadata": {"team": "data"}}

    assert dict(to_settings(connection).headers)["x-portkey-provider"] == "@openai-prod"
