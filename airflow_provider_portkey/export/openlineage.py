"""Lineage: what a task read and wrote, for Airflow's lineage API and for its OpenLineage provider."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
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
    by_file = {"runs_": dict(RUNS.columns)}
    return OperatorLineage(
        inputs=[Dataset(*_named(uri)) for uri in inputs],
        outputs=[
            _output(uri, rows, size, _schema(by_file.get(of, columns), is_table=is_table))
            for of, uri, rows, size in _written(manifest)
        ],
    )


def written_uris(manifest: Mapping[str, Any]) -> list[str]:
    """Return the URIs of the files of a manifest."""
    return [uri for _, uri, _, _ in _written(manifest)]


def _written(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, int | None, int | None]]:
    """Yield the prefix of a file's fields, its URI, rows and bytes; of a manifest with parts those of each part."""
    if parts := [part for part in manifest.get("parts", ()) if "uri" in part]:
        yield from (("", part["uri"], part["requests"], part["bytes"]) for part in parts)
        return
    for of in ("", "error_", "invalid_", "runs_"):
        if uri := manifest.get(f"{of}uri"):
            yield of, uri, manifest.get(f"{of}rows"), manifest.get(f"{of}bytes")


def _output(uri: str, rows: int | None, size: int | None, schema: Any) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    statistics = OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
    facets = {"schema": schema} if schema.fields else {}
    return OutputDataset(*_named(uri), facets=facets, outputFacets={"outputStatistics": statistics})


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
