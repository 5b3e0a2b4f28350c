"""
Portkey's analytics: which reports there are, which groups, and what the API has of each.

Source of paths, fields and units: the ``/analytics`` paths of Portkey's OpenAPI contract 2.0.0. Costs are in cents
there, which is also the unit of its filters ``cost_min`` and ``cost_max``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_portkey.jobs.list_spec import ListSpec
from airflow_provider_portkey.parameters import PARAMETERS

#: The prefix of a group by a key of the metadata of requests, such as ``"metadata.team"``.
METADATA_PREFIX = "metadata."
#: The key of the metadata that has the user of a request (Portkey's documentation of metadata).
USER_KEY = "_user"
#: Between provider and model in the filter ``ai_org_model``.
MODEL_SEPARATOR = "__"

#: The filters of every analytics call, besides the workspace and the window.
FILTERS = (
    *("total_units_min", "total_units_max", "cost_min", "cost_max", "prompt_token_min", "prompt_token_max"),
    *("completion_token_min", "completion_token_max", "status_code", "weighted_feedback_min", "weighted_feedback_max"),
    *("virtual_keys", "configs", "api_key_ids", "metadata", "ai_org_model", "trace_id", "span_id", "prompt_slug"),
)
#: The parameters of every analytics call that the operator itself sets.
WINDOW_PARAMETERS = ("workspace_slug", "time_of_generation_min", "time_of_generation_max")


@dataclass(frozen=True)
class Report:
    """
    One report, as a graph over time.

    :param fields: The columns of its table, with the field of the graph for each.
    :param columns: The columns with their types; those without a field are known for some groups only.
    """

    name: str
    fields: Mapping[str, str]
    columns: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path of the graph, below the base URL."""
        return f"/analytics/graphs/{self.name}"


_REPORTS = (
    Report("requests", {"requests": "total"}, {"requests": "integer"}),
    Report(
        "cost",
        {"cost_cents": "total", "avg_cost_cents": "avg"},
        {"cost_cents": "number", "avg_cost_cents": "number", "requests": "integer"},
    ),
    Report(
        "tokens",
        {"tokens": "total", "avg_tokens": "avg"},
        {"tokens": "number", "avg_tokens": "number", "requests": "integer"},
    ),
    Report("errors", {"errors": "total"}, {"errors": "integer"}),
    Report(
        "latency",
        {"avg_ms": "avg", "p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99"},
        {"avg_ms": "number", "p50_ms": "number", "p90_ms": "number", "p99_ms": "number"},
    ),
)
REPORTS: Mapping[str, Report] = {report.name: report for report in _REPORTS}


@dataclass(frozen=True)
class Group:
    """
    A dimension of requests.

    :param name: ``"model"``, ``"provider"``, ``"user"``, or ``"metadata."`` and a key.
    :param list_spec: The list of its groups; ``None`` where the API has none.
    :param value_field: The field of a row of the list with the group.
    :param fields: The columns that a row of the list has, with their fields.
    :param metadata_key: The key of the metadata that selects a group in the filter ``metadata``.
    """

    name: str
    list_spec: ListSpec | None = None
    value_field: str = ""
    fields: Mapping[str, str] | None = None
    metadata_key: str | None = None

    def lists(self, report: Report) -> bool:
        """Return whether the list of the groups has what a report is about."""
        return bool(self.fields) and next(iter(report.columns)) in (self.fields or {})


def _list(kind: str, path: str) -> ListSpec:
    return ListSpec(
        kind=kind,
        path=f"/analytics/groups/{path}",
        columns={"requests": "integer"},
        parameters=(*WINDOW_PARAMETERS, *FILTERS, "page_size", "current_page"),
        paging="page_number",
        has_ids=False,
        limit_parameter="page_size",
        page_parameter="current_page",
    )


MODELS = Group("model", _list("models of analytics", "ai-models"), "ai_model", {"requests": "requests"})
USERS = Group(
    "user",
    _list("users of analytics", "users"),
    "user",
    {"requests": "requests", "cost_cents": "cost"},
    USER_KEY,
)
PROVIDERS = Group("provider")
_METADATA_LIST = _list("metadata values of analytics", "metadata/{metadata_key}")
_GROUPS = {group.name: group for group in (MODELS, USERS, PROVIDERS)}


def find_report(name: object) -> Report:
    """
    Return a report by its name.

    :raises PortkeyInvalidArgumentError: naming the reports that there are.
    """
    return REPORTS[PARAMETERS["report"]("report", name)]


def find_group(name: object) -> Group | None:
    """
    Return a group by its name, ``None`` for ``None``.

    :raises PortkeyInvalidArgumentError: naming the groups that there are.
    """
    found: str | None = PARAMETERS["group_by"]("group_by", name)
    if found is None or found in _GROUPS:
        return _GROUPS[found] if found else None
    fields = {"requests": "requests", "cost_cents": "cost", "avg_tokens": "avg_tokens"}
    return Group(found, _METADATA_LIST, "metadata_value", fields, found.removeprefix(METADATA_PREFIX))
