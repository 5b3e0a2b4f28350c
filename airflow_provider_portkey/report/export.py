"""Writing reports: what is read, the page, the manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.atomic import check_destination, file_path, names_of, uri_of
from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now
from airflow_provider_portkey.export.message_texts import iter_step_rows
from airflow_provider_portkey.jobs.values import cost_of
from airflow_provider_portkey.report.batch import BatchReport
from airflow_provider_portkey.report.charts import check_installed
from airflow_provider_portkey.report.outcomes import iter_outcomes
from airflow_provider_portkey.report.page import write_page
from airflow_provider_portkey.report.run import RunReport

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.report.page import Report

log = logging.getLogger(__name__)


def write_run_report(
    hook: PortkeyHook,
    thread_id: str,
    run_id: str,
    *,
    include_messages: bool,
    **destination: Any,
) -> tuple[dict[str, Any], list[str]]:
    """
    Write the report of a run, and return its manifest and the URIs of what was read.

    :param destination: ``path``, ``object_storage_conn_id``, ``overwrite``.
    """

    def read() -> tuple[Report, list[str], dict[str, Any]]:
        # Before the steps: a run with a terminal status adds no steps.
        run = hook.get_run(thread_id, run_id)
        steps = iter_step_rows(
            hook,
            thread_id,
            run_id,
            order="asc",
            include=None,
            include_messages=include_messages,
            on_page=lambda _: None,
        )
        usage = run.get("usage")
        report = RunReport(run, steps, cost=cost_of(usage))
        ids = {"thread_id": thread_id, "run_id": run_id}
        about = {**ids, "run_status": run.get("status"), "usage": usage}
        return report, [hook.uri_of("/threads/{thread_id}/runs/{run_id}/steps", ids)], about

    return _write(read, **destination)


def write_batch_report(
    hook: PortkeyHook,
    batch_id: str,
    *,
    output_path: str,
    error_path: str | None,
    object_storage_conn_id: str | None,
    **destination: Any,
) -> tuple[dict[str, Any], list[str]]:
    """
    Write the report of a batch, and return its manifest and the URIs of what was read.

    :param destination: ``path``, ``overwrite``.
    """
    given = {"output_path": output_path, "error_path": error_path}
    files = [file_path(path, object_storage_conn_id, field=name) for name, path in given.items() if path is not None]

    def read() -> tuple[Report, list[str], dict[str, Any]]:
        batch = hook.get_batch(batch_id)
        report = BatchReport(batch, chain.from_iterable(map(iter_outcomes, files)))
        about = {"batch_id": batch_id, "batch_status": batch.get("status"), "statuses": dict(report.statuses)}
        return report, [uri_of(file) for file in files], {**about, "usage": report.usage, "cost": report.cost}

    return _write(read, object_storage_conn_id=object_storage_conn_id, **destination)


def _write(
    read: Callable[[], tuple[Any, list[str], dict[str, Any]]],
    *,
    path: str,
    object_storage_conn_id: str | None,
    overwrite: bool,
) -> tuple[dict[str, Any], list[str]]:
    file = file_path(path, object_storage_conn_id)
    check_installed()
    check_destination(file, overwrite=overwrite)
    started_at = timestamp_now()
    report, sources, about = read()
    if uri_of(file) in sources:
        raise PortkeyInvalidArgumentError("path", path, "another file than those that are read")
    written = write_page(report, file, overwrite=overwrite)
    log.info("The report of %d rows (%d bytes) is in %s.", report.rows, written.bytes, file)
    manifest = build_manifest(
        **names_of(file),
        file_format="html",
        compression=None,
        rows=report.rows,
        bytes=written.bytes,
        sha256=written.sha256,
        non_finite_values=0,
        started_at=started_at,
        report=report.kind,
        **about,
    )
    return manifest, sources
