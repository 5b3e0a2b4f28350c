"""Outcomes of a batch, read as a stream from what the export wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.batch.input import read_chunks
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.jsonl import iter_objects, split_lines
from airflow_provider_portkey.export.local_files import path_errors

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Rows of a parquet file in memory at once.
_ROWS = 1_000
#: Columns that hold JSON as text where a table has the lines of an output file.
_JSON = ("response", "error", "result")


def iter_outcomes(path: ObjectStoragePath) -> Iterator[dict[str, Any]]:
    """
    Yield the lines of a file, or the rows of a table.

    :raises PortkeyPathError: where the file cannot be read.
    :raises PortkeyLineInvalidError: naming a line that is no JSON object.
    """
    with path_errors(path, "read"), cast("Any", path).open("rb") as file:
        if path.suffix != ".parquet":
            yield from iter_objects(split_lines(read_chunks(file)), str(path))
            return
        check_installed("parquet", None)
        import pyarrow.parquet

        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_ROWS):
            for row in batch.to_pylist():
                parsed = {name: json.loads(row[name]) for name in _JSON if isinstance(row.get(name), str)}
                yield {**row, **parsed}
