"""The provider's metadata: its modules, the connection form and the settings. This module imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is an import, too
if TYPE_CHECKING:
    from typing import Any

_STRING = ["string", "null"]
#: JSON as text, which client/settings.py checks: Airflow's editor for objects reformats JSON while it is typed, so
#: that ``{"a":"b"}`` ends as ``{"a": ""}b"}``.
_JSON = {"type": _STRING, "format": "multiline"}

#: The form's own fields. Airflow ignores keys with underscores in place of hyphens without a warning.
_CONNECTION_FIELDS = {
    "provider": {
        "label": "Provider",
        "description": "The provider of the requests: a slug of your Portkey workspace (@openai-prod) "
        "or a provider's name (openai) together with its own key below.",
        "schema": {"type": _STRING},
    },
    "virtual_key": {
        "label": "Virtual Key",
        "description": "The older way to name the provider. Leave it empty if you use Provider or Config.",
        "schema": {"type": _STRING, "format": "password"},
    },
    "config": {
        "label": "Config",
        "description": "A config of your Portkey workspace: its slug (pc-prod-1a2b) or its JSON.",
        "schema": {"type": _STRING},
    },
    "provider_api_key": {
        "label": "Provider API Key",
        "description": "The provider's own key, sent as Authorization: Bearer. Leave empty if Portkey stores the key.",
        "schema": {"type": _STRING, "format": "password"},
    },
    "custom_host": {
        "label": "Custom Host",
        "description": "URL of a provider that you host yourself, such as http://models.internal:8000/v1.",
        "schema": {"type": _STRING},
    },
    "metadata": {
        "label": "Metadata",
        "description": 'JSON, sent with every request, to filter logs and costs by, such as {"team": "data"}. '
        "Values are strings of at most 128 characters.",
        "schema": _JSON,
    },
    "headers": {
        "label": "Headers",
        "description": 'More headers for every request, as JSON: {"x-portkey-azure-resource-name": "prod"}. '
        "They replace headers of the same name from the other fields. Secrets belong in Secret Headers.",
        "schema": _JSON,
    },
    "secret_headers": {
        "label": "Secret Headers",
        "description": 'Headers whose values are secrets, as JSON on one line: {"x-api-key": "..."}. '
        "They replace headers of the same name.",
        "schema": {"type": _STRING, "format": "password"},
    },
    "query": {
        "label": "Query Parameters",
        "description": 'Added to every request, as JSON: {"api-version": "2025-05-15-preview"}.',
        "schema": _JSON,
    },
    "connect_timeout": {
        "label": "Connect Timeout",
        "description": "Seconds to wait for a connection (default 10).",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3600},
    },
    "read_timeout": {
        "label": "Read Timeout",
        "description": "Seconds to wait for data of a response (default 60).",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3600},
    },
    "max_retries": {
        "label": "Retries",
        "description": "Attempts after the first one for a request that may succeed later (default 4).",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true (default), false, or the path of a CA bundle.",
        "schema": {"type": _STRING},
    },
    "log_polls": {
        "label": "Log Bodies of Polls",
        "description": "Keep the bodies of polls and lists in Portkey's logs. Off by default (x-portkey-debug: false).",
        "schema": {"type": ["boolean", "null"]},
    },
    "workspace_slug": {
        "label": "Workspace Slug",
        "description": "The workspace whose analytics are exported, by its slug, such as ws-team-1a2b.",
        "schema": {"type": _STRING},
    },
}

_INTEGRATION = "Portkey"
_STORAGE = "Object Storage"
_PACKAGE = "airflow_provider_portkey"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-portkey",
        "name": _INTEGRATION,
        "description": "`Portkey <https://portkey.ai>`__ AI gateway: "
        "wait for runs, responses, batches and other jobs, export their results.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://portkey.ai/docs",
                "how-to-guide": ["/docs/choosing.md"],
                "tags": ["ai"],
            },
            {
                "integration-name": _STORAGE,
                "external-doc-url": "https://filesystem-spec.readthedocs.io",
                "tags": ["software"],
            },
        ],
        "connection-types": [
            {
                "connection-type": "portkey",
                "hook-class-name": f"{_PACKAGE}.hooks.portkey.PortkeyHook",
                "hook-name": "Portkey",
                "conn-fields": _CONNECTION_FIELDS,
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"password": "Portkey API Key", "host": "Base URL", "port": "Port"},
                    "placeholders": {
                        "host": "https://api.portkey.ai/v1",
                        "port": "443 for hosted Portkey; the Test button needs it",
                        "password": "the API key from Portkey's dashboard",
                    },
                },
            }
        ],
        "hooks": [_modules("hooks.portkey")],
        "sensors": [_modules("sensors.run", "sensors.job")],
        "operators": [
            _modules(
                "operators.lists",
                "operators.run",
                "operators.job",
                "operators.batch",
                "operators.batch_input",
                "operators.report",
            )
        ],
        "transfers": [
            {
                "source-integration-name": _INTEGRATION,
                "target-integration-name": _STORAGE,
                "how-to-guide": "/docs/operators.md",
                "python-module": f"{_PACKAGE}.transfers.{rows}_to_object_storage",
            }
            for rows in ("lists", "steps", "batch_output", "logs", "analytics")
        ],
        "extra-links": [f"{_PACKAGE}.links.PortkeyTraceLink", f"{_PACKAGE}.links.PortkeyDocsLink"],
        "config": {
            "portkey": {
                "description": "Options of the Portkey provider.",
                "options": {
                    "trace_url": {
                        "description": "URL of a task's link to Portkey's dashboard; {trace_id} is replaced by the "
                        "trace id, and an empty URL means no link. Default: "
                        "https://app.portkey.ai/logs?trace_id={trace_id}.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://portkey.example.com/logs?trace_id={trace_id}",
                        # None, not the URL: Airflow replaces braces in a default by names of its own, and fails.
                        "default": None,
                    },
                },
            },
        },
        "triggers": [_modules("triggers.run", "triggers.run_event", "triggers.job")],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}
