"""
The route of the tab: the report that a task wrote, to readers who may read the XComs of the task's DAG.

What is sent is the file that the task's manifest names, and only if the file is a report: its size and SHA-256 are
those of the manifest, and it begins as reports begin. So a manifest that somebody made by hand opens no other file.
Airflow's UI has the page in a frame with the UI's own origin; the policy of the response takes that origin away and
allows no scripts, whatever is in the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, cast

# Only the API server imports this module, and has these.
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from fastapi import Depends, FastAPI, Path
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator
from sqlalchemy import select

from airflow_provider_portkey.report.page import FIRST_BYTES, MAX_BYTES, content_security_policy, render_message

log = logging.getLogger(__name__)

#: Where reports may be: file systems and object stores. A URL of another kind would let a manifest send requests from
#: the API server.
_PROTOCOLS = frozenset({"file", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "wasb", "wasbs", "hdfs", "oci"})
_NO_REPORT = "This task instance has no Portkey report."
_NOT_THERE = (
    "The report is not there any more, is not the one that the task wrote, or cannot be read by the API server."
)


def _map_index(value: str) -> str:
    # The UI fills in the index of a mapped task instance, and leaves the name of any other one's as it is.
    return "-1" if value == "{MAP_INDEX}" else value


@cache
def app() -> FastAPI:
    """Return the application."""
    application = FastAPI(title="Portkey reports", openapi_url=None)
    application.get(
        "/reports/{dag_id}/{run_id}/{task_id}/{map_index}",
        response_class=HTMLResponse,
        dependencies=[Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))],
    )(get_report)
    return application


def get_report(
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: Annotated[int, BeforeValidator(_map_index), Path(ge=-1)],
    session: SessionDep,
) -> HTMLResponse:
    """Return the report of a task instance, or a page that says why there is none."""
    place = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index, "key": "return_value"}
    manifest = _manifest(session.scalar(select(XComModel.value).filter_by(**place)))
    if manifest is None:
        return _message(_NO_REPORT)
    page = read_report(manifest)
    return _respond(page) if page is not None else _message(f"{_NOT_THERE} Its path: {manifest['path']}")


def read_report(manifest: Mapping[str, Any]) -> bytes | None:
    """
    Return the file that a manifest names; ``None`` where the file is not the report of the manifest.

    :param manifest: Of a report; from XCom, so that nothing in it is to be trusted.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    place, size = manifest["path"], manifest["bytes"]
    place = f"file://{place}" if place.startswith("/") else place
    protocol, separator, _ = place.partition("://")
    if not separator or protocol not in _PROTOCOLS or size > MAX_BYTES:
        return None
    try:
        path = cast("Any", ObjectStoragePath(place))
        info = path.fs.info(path.path)
        # Not what blocks a reader or has no end: a pipe, a device.
        if info.get("type") != "file" or info.get("size") != size:
            return None
        with path.open("rb") as file:
            page: bytes = file.read(size + 1)
    except Exception:  # each file system has its own; the reader gets one message for all of them
        log.warning("The report %s cannot be read.", place, exc_info=True)
        return None
    if hashlib.sha256(page).hexdigest() != manifest["sha256"] or not page.startswith(FIRST_BYTES):
        log.warning("%s is not the report that the task wrote.", place)
        return None
    return page


def _manifest(value: Any) -> Mapping[str, Any] | None:
    """Return the value of an XCom as the manifest of a report, ``None`` where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping) or value.get("format") != "html":
        return None
    types = {"report": str, "path": str, "sha256": str, "bytes": int}
    return value if all(isinstance(value.get(name), kind) for name, kind in types.items()) else None


def _message(text: str) -> HTMLResponse:
    return _respond(render_message(text), status_code=404)


def _respond(page: bytes, status_code: int = 200) -> HTMLResponse:
    headers = {
        "Content-Security-Policy": f"{content_security_policy(page)}; frame-ancestors 'self'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }
    return HTMLResponse(page, status_code=status_code, headers=headers)
