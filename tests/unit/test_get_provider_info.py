from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.providers_manager import ProvidersManager

from airflow_provider_portkey import get_provider_info as module
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.hooks.portkey import PortkeyHook

INFO = get_provider_info()
(CONNECTION_TYPE,) = INFO["connection-types"]
AIRFLOW = tuple(int(part) for part in airflow_version.split(".")[:2])
FROM_METADATA = AIRFLOW >= (3, 3)
BEFORE_3_3 = pytest.mark.skipif(not FROM_METADATA, reason="before 3.3 Airflow renders the form from the hook's methods")
#: Modules that need that version.
FROM_3_0 = {"airflow_provider_portkey.triggers.run_event"}

#: Label, types and format of each field, in the order of the form.
FORM = {
    "provider": ("Provider", ["string", "null"], None),
    "virtual_key": ("Virtual Key", ["string", "null"], "password"),
    "config": ("Config", ["string", "null"], None),
    "provider_api_key": ("Provider API Key", ["string", "null"], "password"),
    "custom_host": ("Custom Host", ["string", "null"], None),
    "metadata": ("Metadata", ["string", "null"], "multiline"),
    "headers": ("Headers", ["string", "null"], "multiline"),
    "secret_headers": ("Secret Headers", ["string", "null"], "password"),
    "query": ("Query Parameters", ["string", "null"], "multiline"),
    "connect_timeout": ("Connect Timeout", ["number", "null"], None),
    "read_timeout": ("Read Timeout", ["number", "null"], None),
    "max_retries": ("Retries", ["integer", "null"], None),
    "verify": ("Verify TLS", ["string", "null"], None),
    "log_polls": ("Log Bodies of Polls", ["boolean", "null"], None),
    "workspace_slug": ("Workspace Slug", ["string", "null"], None),
    "omit_task_metadata": ("Omit Task Metadata", ["boolean", "null"], None),
}


_EMPTY = dict.fromkeys(("description", "host", "login", "schema", "port", "password", "team_name"))


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    """The connection form as Airflow's API returns it."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = [one for one in HookMetaService.hook_meta_data() if one.connection_type == "portkey"]
    found: dict[str, Any] = form.model_dump()
    return found


@BEFORE_3_3
def test_every_field_is_rendered_with_its_label_type_and_hint(rendered: dict[str, Any]) -> None:
    fields = rendered["extra_fields"]

    assert list(fields) == list(FORM)
    for name, (label, types, form) in FORM.items():
        schema = fields[name]["schema"]
        assert (schema["title"], schema["type"], schema.get("format")) == (label, types, form), name
        assert fields[name]["value"] is None, name
        assert len(fields[name]["description"]) > 20, name


@BEFORE_3_3
@pytest.mark.parametrize(
    ("name", "bounds"),
    [("connect_timeout", (0.1, 3600)), ("read_timeout", (0.1, 3600)), ("max_retries", (0, 20))],
)
def test_numbers_are_rendered_with_their_bounds(
    rendered: dict[str, Any], name: str, bounds: tuple[float, float]
) -> None:
    schema = rendered["extra_fields"][name]["schema"]

    assert (schema["minimum"], schema["maximum"]) == bounds


@BEFORE_3_3
def test_the_standard_fields_are_rendered_with_their_names_and_placeholders(rendered: dict[str, Any]) -> None:
    standard = rendered["standard_fields"]

    assert standard["login"]["hidden"] is True
    assert standard["url_schema"]["hidden"] is True
    assert (standard["password"]["hidden"], standard["password"]["title"]) == (False, "Portkey API Key")
    assert (standard["host"]["hidden"], standard["host"]["title"]) == (False, "Base URL")
    assert (standard["port"]["hidden"], standard["port"]["title"]) == (False, "Port")
    assert standard["host"]["placeholder"] == "https://api.portkey.ai/v1"
    assert "Test button" in standard["port"]["placeholder"]
    assert standard["password"]["placeholder"]
    assert rendered["hook_name"] == "Portkey"


@pytest.mark.skipif(
    AIRFLOW == (3, 0) and find_spec("flask_appbuilder") is None,
    reason="Airflow 3.0 renders no provider's own fields without the FAB provider",
)
def test_the_form_is_complete_on_every_version() -> None:
    if AIRFLOW < (3, 0):
        manager = ProvidersManager()
        prefix = "extra__portkey__"
        names = [name.removeprefix(prefix) for name in manager.connection_form_widgets if name.startswith(prefix)]
        relabeling = manager.field_behaviours["portkey"]["relabeling"]
    else:
        from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

        (form,) = [one for one in HookMetaService.hook_meta_data() if one.connection_type == "portkey"]
        names = list(form.extra_fields or {})
        assert form.standard_fields is not None
        relabeling = {"host": form.standard_fields.host.title, "password": form.standard_fields.password.title}

    assert sorted(names) == sorted(FORM)
    assert (relabeling["host"], relabeling["password"]) == ("Base URL", "Portkey API Key")


def test_no_field_has_the_editor_that_rewrites_json_while_it_is_typed() -> None:
    for name, field in CONNECTION_TYPE["conn-fields"].items():
        assert {"object", "array"}.isdisjoint(field["schema"]["type"]), name


@BEFORE_3_3
def test_airflow_shows_no_secret_header_and_no_provider_key() -> None:
    from airflow.api_fastapi.core_api.datamodels.connections import ConnectionResponse

    extra = {"provider_api_key": "sk-provider", "secret_headers": '{"x-api-key": "secret-key"}', "headers": "{}"}
    shown = ConnectionResponse(connection_id="a", conn_type="portkey", extra=json.dumps(extra), **_EMPTY).extra

    assert json.loads(shown or "") == {"provider_api_key": "***", "secret_headers": "***", "headers": "{}"}


def test_airflow_discovers_the_installed_package() -> None:
    provider = ProvidersManager().providers.get("airflow-provider-portkey")

    assert provider is not None, "the package is not installed: pip install -e ."
    assert provider.data["connection-types"] == INFO["connection-types"]
    assert provider.version == metadata.version("airflow-provider-portkey")


def test_the_package_name_is_that_of_the_distribution() -> None:
    distribution = metadata.distribution(INFO["package-name"])

    assert distribution.metadata["Name"] == INFO["package-name"]
    (entry_point,) = [one for one in distribution.entry_points if one.group == "apache_airflow_provider"]
    assert entry_point.load()() == INFO


def test_the_metadata_fits_airflows_own_schema() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(INFO, schema)


def test_the_connection_type_is_that_of_the_hook() -> None:
    assert CONNECTION_TYPE["connection-type"] == PortkeyHook.conn_type == "portkey"
    assert CONNECTION_TYPE["hook-name"] == PortkeyHook.hook_name
    assert CONNECTION_TYPE["hook-class-name"] == f"{PortkeyHook.__module__}.{PortkeyHook.__qualname__}"


def modules() -> list[str]:
    listed = [
        name
        for kind in ("hooks", "sensors", "operators", "triggers")
        for entry in INFO[kind]
        for name in entry["python-modules"]
    ]
    return listed + [entry["python-module"] for entry in INFO["transfers"]]


@pytest.mark.parametrize("name", modules())
def test_every_module_that_is_listed_can_be_imported(name: str) -> None:
    if name in FROM_3_0 and airflow_version.startswith("2."):
        with pytest.raises(AirflowOptionalProviderFeatureException, match=r"needs Airflow 3\.0"):
            importlib.import_module(name)
    else:
        assert importlib.import_module(name).__name__ == name


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("hooks", "hooks.portkey"),
        ("sensors", "sensors.run"),
        ("operators", "operators.lists"),
        ("triggers", "triggers.run"),
        ("transfers", "transfers.steps_to_object_storage"),
    ],
)
def test_public_modules_are_listed(kind: str, name: str) -> None:
    listed = [each for entry in INFO[kind] for each in entry.get("python-modules", [entry.get("python-module")])]

    assert f"airflow_provider_portkey.{name}" in listed


def test_keys_are_spelt_with_hyphens() -> None:
    def keys(value: Any, path: str = "") -> list[str]:
        if isinstance(value, list):
            return [key for entry in value for key in keys(entry, path)]
        if not isinstance(value, dict):
            return []
        # Names of fields and options are our own; Airflow spells the keys of an option with underscores.
        own = [] if path in ("conn-fields", "options", "trace_url") else list(value)
        return own + [key for name, entry in value.items() for key in keys(entry, name)]

    assert [key for key in keys(INFO) if "_" in key] == []
    assert {"conn-fields", "ui-field-behaviour", "hidden-fields"} <= set(keys(INFO))


def test_the_metadata_imports_nothing() -> None:
    code = (
        "import sys; source = open(sys.argv[1]).read(); before = set(sys.modules);"
        "names = {}; exec(compile(source, 'metadata', 'exec'), names);"
        "assert names['get_provider_info']()['name'] == 'Portkey';"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code, str(module.__file__)], capture_output=True, text=True, check=True
    )

    assert set(run.stdout.split()) <= {"__future__"}


def test_the_guides_are_pages_of_the_docs() -> None:
    guides = [guide for each in INFO["integrations"] for guide in each.get("how-to-guide", [])]
    guides += [each["how-to-guide"] for each in INFO["transfers"]]
    assert guides
    root = Path(__file__).parents[2]
    assert [guide for guide in guides if not (root / guide.removeprefix("/")).is_file()] == []
