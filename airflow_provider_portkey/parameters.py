"""
The values that each parameter may have: one rule for a name, whichever class has the parameter.

Literal values are checked where a DAG constructs the operator, templated ones after rendering, which makes strings of
numbers and booleans; with ``render_template_as_native_obj=True`` rendering makes numbers of digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.validation import (
    Rule,
    boolean,
    connection_id,
    field_names,
    group_name,
    identifier,
    name_list,
    one_of,
    path_text,
    prompt,
    read_ids,
    real_number,
    some_of,
    text,
    texts_by_name,
    url_path,
    whole_number,
)

#: Items on one page at most; servers respond with 400 to a larger limit (measured).
MAX_LIMIT = 100
#: The rule of each parameter. A parameter that is not here is checked where its value is used.
PARAMETERS: Mapping[str, Rule] = {
    "additional_instructions": text,
    "additional_messages": prompt,
    "assistant_id": identifier,
    "batch_id": identifier,
    "capacity_interval": real_number(1, unit="seconds"),
    "check_input": boolean,
    "completion_window": text,
    "compression": one_of("gzip", "zstd", optional=True),
    "created_within": real_number(0, unit="seconds", above=True),
    "csv_formulas": one_of("keep", "escape"),
    "custom_id": one_of("key", "hash", optional=True),
    "endpoint": url_path(),
    "error_codes": read_ids,
    "error_path": path_text,
    "excluded_error_codes": read_ids,
    "export_id": identifier,
    "file_format": one_of("jsonl", "json", "csv", "parquet"),
    "fine_tuning_job_id": identifier,
    "group_by": group_name,
    "ids": texts_by_name,
    "include": field_names,
    "include_fields": name_list,
    "include_input": boolean,
    "include_messages": boolean,
    "input": prompt,
    "input_mode": one_of("auto", "file", "inline"),
    "input_path": path_text,
    "instructions": text,
    "interval": one_of("auto", "hour", "day", "window"),
    "include_runs": boolean,
    "invalid_path": path_text,
    "key_columns": name_list,
    "layout": one_of("lines", "table"),
    "limit": whole_number(1, MAX_LIMIT, optional=True),
    "line_endpoint": url_path(optional=True),
    "lookback": real_number(0, unit="seconds"),
    "max_bytes": whole_number(1),
    "max_concurrent_requests": whole_number(1, 32),
    "max_consecutive_failures": whole_number(1),
    "max_file_bytes": whole_number(1),
    "max_failed_runs": whole_number(0, optional=True),
    "max_failure_ratio": real_number(0, 1, optional=True),
    "max_items": whole_number(0, optional=True),
    "max_requests": whole_number(1, optional=True),
    "max_run_seconds": real_number(0, unit="seconds"),
    "max_score": real_number(optional=True),
    "max_poll_interval": real_number(1, unit="seconds"),
    "metadata": texts_by_name,
    "min_score": real_number(optional=True),
    "min_success_ratio": real_number(0, 1, optional=True),
    "min_valid_ratio": real_number(0, 1, optional=True),
    "model": text,
    "models": name_list,
    "object_storage_conn_id": connection_id(optional=True),
    "on_failed": one_of("fail", "return"),
    "on_mismatch": one_of("fail", "warn"),
    "on_requires_action": one_of("fail", "wait", "return"),
    "on_unfinished": one_of("skip", "include", "fail"),
    "order": one_of("asc", "desc", optional=True),
    "output_path": path_text,
    "overwrite": boolean,
    "page_size": whole_number(1, MAX_LIMIT),
    "partition_by": one_of("date", optional=True),
    "path": path_text,
    "poke_interval": real_number(0, unit="seconds"),
    "poll_interval": real_number(0.1, unit="seconds"),
    "portkey_conn_id": connection_id(),
    "reconcile": boolean,
    "report": one_of("requests", "cost", "tokens", "errors", "latency"),
    "response_id": identifier,
    "resubmit_unknown": boolean,
    "retry_statuses": some_of("failed", "expired", "cancelled", "missing", "invalid", "unknown"),
    "retryable_error_codes": read_ids,
    "rows_format": one_of("jsonl", "csv", "parquet", optional=True),
    "rows_path": path_text,
    "run_id": identifier,
    "score_field": text,
    "source": one_of("auto", "file", "portkey"),
    "table_format": one_of("jsonl", "csv", "parquet", optional=True),
    "thread": prompt,
    "thread_id": identifier,
    "thread_ids_path": path_text,
    "wait_for_capacity": boolean,
    "wait_for": one_of("all", "any"),
    "window_by": one_of("created", "ended"),
    "workspace_id": text,
    "workspace_slug": text,
}


def validate_parameters(operator: Any, *, rendered: bool = False) -> None:
    """
    Check the parameters of an operator by :data:`PARAMETERS`, and set those that a template rendered as strings.

    :param operator: Has the parameters as attributes.
    :param rendered: Whether templates are rendered by now; before that, templated values are passed over.
    :raises PortkeyInvalidArgumentError: naming the first parameter that is wrong, its value and what would be right.
    """
    given = vars(operator)
    for name, rule in PARAMETERS.items():
        if name in given and (rendered or not is_template(given[name])):
            checked = rule(name, given[name])
            if checked is not given[name]:
                setattr(operator, name, checked)


def is_template(value: Any) -> bool:
    """Return whether a value is a Jinja template, or the output of a task, and not known before rendering."""
    return (isinstance(value, str) and ("{{" in value or "{%" in value)) or hasattr(value, "iter_references")
