"""Outcomes joined to the rows that the requests were made of: one row of a table for each request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.batch.index import OutcomeIndex
from airflow_provider_portkey.batch.lines import BatchLines
from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS, STATUSES, read_outcome
from airflow_provider_portkey.batch.outcomes import request_id_of, usage_of
from airflow_provider_portkey.batch.parts import iter_keys
from airflow_provider_portkey.batch.schema import ResponseSchema, parse_text
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.atomic import check_destination, check_distinct, file_path, names_of
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.export.writer import open_writer
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.json_values import strict_json

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns

#: Reads the ``custom_id`` and the key columns of each request, from the first again at each call.
Requests = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]

#: The code of a response that does not fit the JSON schema.
SCHEMA_MISMATCH = "schema_mismatch"
#: The status of requests without an outcome, by that of their batch; otherwise they are ``missing``.
_WITHOUT_OUTCOME = {"expired": "expired", "cancelled": "cancelled", "failed": "failed"}


@dataclass(kw_only=True)
class TableFiles:
    """
    Writes a table of outcomes, and the rows that do not fit the schema once more beside it.

    :param path: The table.
    :param invalid_path: The rows of the status ``invalid``; ``None`` to write no such file.
    :param read: Paths of the files that are read, by the names of their parameters: none is written over.
    """

    path: str
    invalid_path: str | None
    object_storage_conn_id: str | None
    file_format: str
    compression: str | None
    csv_formulas: str
    overwrite: bool
    read: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file_format == "json":
            raise PortkeyInvalidArgumentError("file_format", "json", "'parquet', 'jsonl' or 'csv' for a table")
        self._path = file_path(self.path, self.object_storage_conn_id)
        invalid = self.invalid_path
        self._invalid = file_path(invalid, self.object_storage_conn_id, field="invalid_path") if invalid else None
        read = {
            name: [file_path(path, self.object_storage_conn_id, field=name) for path in paths]
            for name, paths in self.read.items()
        }
        check_distinct({"path": self._path, "invalid_path": self._invalid}, read)
        check_installed(self.file_format, self.compression)
        for destination in filter(None, (self._path, self._invalid)):
            check_destination(destination, overwrite=self.overwrite)

    def write(self, requests: Requests, outcome_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """
        Write one row for each request, and return the files' and the statuses' part of the manifest.

        :param outcome_of: Returns the columns of a request's outcome.
        """
        columns = {**key_types(requests()), **OUTCOME_COLUMNS}
        counts: Counter[str] = Counter()
        with ExitStack() as files:
            table = files.enter_context(self._open(self._path, columns))
            invalid = files.enter_context(self._open(self._invalid, columns)) if self._invalid else None
            for custom_id, keys in requests():
                row = {**dict.fromkeys(columns), **keys, "custom_id": custom_id, **outcome_of(custom_id)}
                counts[row["status"]] += 1
                table.write(row)
                if invalid and row["status"] == "invalid":
                    invalid.write(row)
        return {
            **table.summary(),
            **names_of(invalid.path if invalid else None, "invalid_"),
            "requests": table.rows,
            **{status: counts[status] for status in STATUSES},
        }

    def _open(self, path: Any, columns: Columns) -> Any:
        return open_writer(
            path,
            columns=columns,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
        )


@dataclass(kw_only=True)
class BatchTable:
    """
    The table of one batch.

    :param lines: The batch.
    :param input_path: The requests, with their keys beside them; ``None`` for the batch's own input file.
    :param schema: What the texts of responses have to fit, ``None`` for any text.
    """

    lines: BatchLines
    files: TableFiles
    input_path: str | None
    object_storage_conn_id: str | None
    schema: ResponseSchema | None

    def write(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """
        Write the table, and return the fields of its manifest, its cost apart.

        :param batch: The batch, with a terminal status.
        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        :raises PortkeyInvalidArgumentError: where the requests are not known.
        """
        usage = UsageSum()
        matched = 0
        with closing(OutcomeIndex()) as index:
            with ExportProgress(f"outcomes of batch {self.lines.batch_id!r}") as progress:
                self._add_all(index, self.lines.output_rows(batch), progress, error_file=False)
                self._add_all(index, self.lines.error_rows(batch), progress, error_file=True)
            without = self._without_outcome(batch)

            def outcome_of(custom_id: str) -> dict[str, Any]:
                nonlocal matched
                if (found := index.take(custom_id)) is None:
                    return without
                matched += 1
                outcome: dict[str, Any] = json.loads(found)
                usage.add(outcome.pop("usage", None))
                return outcome

            written = self.files.write(self._requests(batch), outcome_of)
            distinct = index.distinct()
            return {
                **written,
                "batch_id": self.lines.batch_id,
                "batch_status": batch.get("status"),
                "duplicate": index.added - distinct,
                "unexpected": distinct - matched,
                "usage": usage.to_dict() or None,
            }

    def _add_all(
        self, index: OutcomeIndex, rows: Iterable[Mapping[str, Any]], progress: ExportProgress, *, error_file: bool
    ) -> None:
        for row in rows:
            progress.add_rows(1)
            outcome = read_outcome(row, error_file=error_file)
            if outcome["status"] == "succeeded":
                self._check(outcome)
            if (used := usage_of(row)) is not None:
                outcome["usage"] = used
            # Of several outcomes the first counts. A line without an id belongs to no request.
            index.add(request_id_of(row) or f"\0{index.added}", -index.added, strict_json(outcome)[0])

    def _check(self, outcome: dict[str, Any]) -> None:
        """Add what the text of a response is as JSON, and its problem where it has one."""
        text = outcome.get("text")
        if self.schema is None and not (text and text.lstrip().startswith(("{", "["))):
            return
        value, problem = parse_text(text)
        if problem is None:
            outcome["parsed"] = strict_json(value)[0]
            problem = self.schema.problem(value) if self.schema else None
        if problem is not None and self.schema is not None:
            outcome.update(status="invalid", error_code=SCHEMA_MISMATCH, error_message=problem)

    def _without_outcome(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        status = _WITHOUT_OUTCOME.get(str(batch.get("status")), "missing")
        reason = BATCH.error_message(batch) or None
        return {
            "status": status,
            "error_code": None if status == "missing" else f"batch_{status}",
            "error_message": reason,
        }

    def _requests(self, batch: Mapping[str, Any]) -> Requests:
        if self.input_path is not None:
            path = self.input_path
            return lambda: iter_keys(path, self.object_storage_conn_id)
        if self.lines.input_rows(batch) is None:
            expected = "the file of requests: this batch has no input file of its own to make a table of"
            raise PortkeyInvalidArgumentError("input_path", None, expected)
        return lambda: self._own_requests(batch)

    def _own_requests(self, batch: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        rows, _ = self.lines.input_rows(batch) or ((), "")
        for row in rows:
            if (custom_id := request_id_of(row)) is not None:
                yield custom_id, {}


def key_types(requests: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return the type of each key column: the one of all its values, ``"json"`` where they differ."""
    kinds: dict[str, set[str]] = {}
    for _, keys in requests:
        for name, value in keys.items():
            found = kinds.setdefault(name, set())
            if value is not None:
                found.add(_KINDS.get(type(value), "json"))
    return {name: _common(found) for name, found in kinds.items()}


def invalid_name(path: str) -> str:
    """Return the path of the rows that do not fit the schema: ``table.parquet`` becomes ``table.invalid.parquet``."""
    folder, slash, name = path.rpartition("/")
    stem, dot, endings = name.partition(".")
    return f"{folder}{slash}{stem}.invalid{dot}{endings}"


_KINDS = {str: "text", bool: "boolean", int: "integer", float: "number"}


def _common(kinds: set[str]) -> str:
    if not kinds:
        return "text"
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "json"
