"""What an export says of itself to OpenLineage, where Airflow's provider for it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_portkey.export.formats import OTHER_FIELDS

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns

#: Schemes that OpenLineage's naming page spells in another way.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
#: What a declared column is in a table; elsewhere nested values stay nested.
_TYPES = {"text": "string", "integer": "int64"}


def operator_lineage(inputs: Iterable[str], manifest: Mapping[str, Any], columns: Columns) -> Any:
    """
    Return the datasets of one export, ``None`` where the provider is not installed.

    :param inputs: The URIs of what was read.
    :param manifest: Of the export, with the file and, where there is one, the file of errors.
    :param columns: The declared columns of the rows; a type that is not known is an empty text.
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    from airflow.providers.common.compat.openlineage.facet import Dataset

    schema = _schema(columns, is_table=manifest["format"] in ("csv", "parquet"))
    return OperatorLineage(
        inputs=[Dataset(*_named(uri)) for uri in inputs],
        outputs=[
            _output(manifest[f"{of}uri"], manifest[f"{of}rows"], manifest[f"{of}bytes"], schema)
            for of in ("", "error_")
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
    if is_table:
        fields.append(SchemaDatasetFacetFields(name=OTHER_FIELDS, type="string"))
    return SchemaDatasetFacet(fields=fields)


def _named(uri: str) -> tuple[str, str]:
    """Split a URI into namespace and name as OpenLineage has them: ``s3://bucket`` and ``key``."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", uri.removeprefix("file://")
    namespace = f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{parts.netloc}"
    return namespace, uri.partition(parts.netloc)[2].lstrip("/") or "/"
