"""Lineage: what a task read and wrote, for Airflow's lineage API and for its OpenLineage provider."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_portkey.jobs.list_spec import OTHER_FIELDS, FixedColumns
from airflow_provider_portkey.jobs.lists import RUNS

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns

log = logging.getLogger(__name__)

#: Schemes that OpenLineage's naming page spells in another way.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
#: The types of declared columns in OpenLineage; ``"json"`` depends on the format.
_TYPES = {"text": "string", "integer": "int64", "number": "float64", "boolean": "boolean", "timestamp": "timestamp"}


def report_lineage(context: Any, *, inputs: Iterable[str] = (), outputs: Iterable[str] = ()) -> None:
    """
    Report to Airflow what was read and written outside ``ObjectStoragePath``, which reports itself.

    :param context: The hook or the path that read and wrote.
    :param inputs: URIs.
    :param outputs: URIs.
    """
    for add, uris in (("add_input_asset", inputs), ("add_output_asset", outputs)):
        for uri in uris:
            _report(add, context, uri)


def _report(add: str, context: Any, uri: str) -> None:
    from airflow.providers.common.compat.lineage import hook as lineage

    collector: Any = lineage.get_hook_lineage_collector  # untyped
    try:
        getattr(collector(), add)(context=context, uri=uri)
    except Exception as error:  # a task that has done its work does not fail because of its lineage
        log.warning("%s is missing from the lineage: %s", uri, error)


def operator_lineage(inputs: Iterable[str], manifest: Mapping[str, Any], columns: Columns) -> Any:
    """
    Return the datasets of one export; ``None`` where the OpenLineage provider is not installed.

    :param inputs: The URIs of what was read.
    :param manifest: The manifest of the export.
    :param columns: The declared columns of the rows; an unknown type is an empty string.
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    from airflow.providers.common.compat.openlineage.facet import Dataset

    is_table = manifest["format"] in ("csv", "parquet")
    return OperatorLineage(
        inputs=[Dataset(*_named(uri)) for uri in inputs],
        outputs=[
            _output(
                manifest[f"{of}uri"],
                manifest[f"{of}rows"],
                manifest[f"{of}bytes"],
                _schema(columns_of, is_table=is_table),
            )
            for of, columns_of in (("", columns), ("error_", columns), ("runs_", dict(RUNS.columns)))
            if manifest.get(f"{of}uri")
        ],
    )


def _output(uri: str, rows: int, size: int, schema: Any) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    statistics = OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
    return OutputDataset(*_named(uri), facets={"schema": schema}, outputFacets={"outputStatistics": statistics})


def _schema(columns: Columns, *, is_table: bool) -> Any:
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    types = {**_TYPES, "json": "string" if is_table else "json"}
    fields = [SchemaDatasetFacetFields(name=name, type=types.get(kind)) for name, kind in columns.items()]
    if is_table and not isinstance(columns, FixedColumns):
        fields.append(SchemaDatasetFacetFields(name=OTHER_FIELDS, type="string"))
    return SchemaDatasetFacet(fields=fields)


def _named(uri: str) -> tuple[str, str]:
    """Split a URI into namespace and name as in OpenLineage: ``s3://bucket`` and ``key``."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", uri.removeprefix("file://")
    namespace = f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{parts.netloc}"
    return namespace, uri.partition(parts.netloc)[2].lstrip("/") or "/"
