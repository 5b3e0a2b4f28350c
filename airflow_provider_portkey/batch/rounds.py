"""Rounds of batches over the same rows: what to retry, and the tables of all rounds as one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.batch.index import OutcomeIndex
from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS
from airflow_provider_portkey.batch.parts import PartBuffer, iter_keys, iter_requests
from airflow_provider_portkey.batch.rows import format_of, open_table
from airflow_provider_portkey.batch.table import TableFiles
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyLineInvalidError
from airflow_provider_portkey.export.atomic import file_path, names_of, path_in, uri_of
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.json_values import strict_json
from airflow_provider_portkey.validation import json_array

#: The status of requests that no table has: their batch may be active, so they are retried only where the user says so.
UNKNOWN = "unknown"
#: What is added up of the rows of all rounds.
_USED = ("input_tokens", "output_tokens", "total_tokens", "cost")
#: A success counts more than the outcome of any later round.
_SUCCESS_RANK = 1 << 40


def read_paths(field: str, value: object) -> list[str]:
    """
    Return paths of files from what the upstream tasks return: paths, or manifests, in a list or alone.

    Of a manifest the ``path`` counts, which has the connection, or else the ``uri``.

    :raises PortkeyInvalidArgumentError: for anything else, and for the same file twice.
    """
    expected = "the path of a file or its manifest, or a list of them"
    if isinstance(value, str) and value.strip().startswith("["):
        value = json_array(field, value)
    found = [value] if isinstance(value, str | Mapping) else value
    if found is None or isinstance(found, bytes) or not isinstance(found, Iterable):
        raise PortkeyInvalidArgumentError(field, value, expected)
    paths: list[str] = []
    for one in _flat(found):
        path = path_in(one) if isinstance(one, Mapping) else one
        if not isinstance(path, str) or not path.strip():
            raise PortkeyInvalidArgumentError(f"{field}[{len(paths)}]", one, expected)
        if path in paths:
            raise PortkeyInvalidArgumentError(f"{field}[{len(paths)}]", path, "a file that is not in the list before")
        paths.append(path)
    return paths


@dataclass(kw_only=True)
class Rounds:
    """
    The requests of the first round, and the tables of the rounds so far.

    :param inputs: The input files of the first round.
    :param tables: The tables of outcomes, those of earlier rounds first.
    """

    inputs: Sequence[str]
    tables: Sequence[str]
    object_storage_conn_id: str | None

    @property
    def uris(self) -> list[str]:
        """The URIs of the inputs and of the tables."""
        given = {"inputs": self.inputs, "outcomes": self.tables}
        conn_id = self.object_storage_conn_id
        return [uri_of(file_path(path, conn_id, field=field)) for field, paths in given.items() for path in paths]

    def write_retry(
        self,
        parts: PartBuffer,
        *,
        statuses: Collection[str],
        error_codes: Collection[str] | None,
        excluded_error_codes: Collection[str],
    ) -> dict[str, Any]:
        """
        Add the requests to retry to the parts, and return the counts of the manifest.

        :param statuses: The statuses of requests to retry.
        :param error_codes: The codes of ``failed`` requests to retry, ``None`` for any code.
        :param excluded_error_codes: Codes of requests that are not retried, whatever their status is.
        """
        status_counts: Counter[str] = Counter()
        retried: Counter[str] = Counter()
        codes: Counter[str] = Counter()
        with closing(OutcomeIndex()) as index:
            rows = self._add_all(index)
            for path in self.inputs:
                for custom_id, line, keys in iter_requests(path, self.object_storage_conn_id):
                    outcome = self._outcome(index, custom_id) or {"status": UNKNOWN}
                    status, code = outcome["status"], outcome.get("error_code")
                    status_counts[status] += 1
                    wanted = status in statuses and code not in excluded_error_codes
                    if wanted and (status != "failed" or error_codes is None or code in error_codes):
                        parts.add(line, keys)
                        retried[status] += 1
                        if code is not None:
                            codes[str(code)] += 1
        return {
            "requests": sum(status_counts.values()),
            "status_counts": dict(sorted(status_counts.items())),
            "retried": sum(retried.values()),
            "retried_by_status": dict(sorted(retried.items())),
            "retried_by_error_code": dict(sorted(codes.items())),
            "tables": rows,
        }

    def write_merged(self, files: TableFiles) -> dict[str, Any]:
        """
        Write the table of all rounds, and return the fields of its manifest.

        The latest success of a request counts, or else the latest outcome. ``usage`` is that of all rounds.
        """
        usage = UsageSum()
        matched = unknown = 0
        with closing(OutcomeIndex()) as index:
            tables = self._add_all(index, usage)

            def outcome_of(custom_id: str) -> dict[str, Any]:
                nonlocal matched, unknown
                if (outcome := self._outcome(index, custom_id)) is None:
                    unknown += 1
                    return {"status": "missing", "error_code": None, "error_message": "No table has this request."}
                matched += 1
                return outcome

            written = files.write(self._requests, outcome_of)
            return {
                **written,
                "unknown": unknown,
                "unexpected": index.distinct() - matched,
                "usage": usage.to_dict() or None,
                "tables": tables,
            }

    def _requests(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for path in self.inputs:
            yield from iter_keys(path, self.object_storage_conn_id)

    def _add_all(self, index: OutcomeIndex, usage: UsageSum | None = None) -> list[dict[str, Any]]:
        """Add the rows of all tables, and return the names and the rows of each."""
        read = []
        for number, table in enumerate(self.tables):
            progress = ExportProgress(f"outcomes of {table}")
            path = file_path(table, self.object_storage_conn_id, field="outcomes")
            count = 0
            columns = list(OUTCOME_COLUMNS)
            with progress, open_table(path, format_of(table, field="outcomes"), columns=columns) as opened:
                for count, row in enumerate(opened.rows, 1):
                    progress.add_rows(1)
                    outcome = _typed(row)
                    custom_id, status = row.get("custom_id"), outcome.get("status")
                    if not isinstance(custom_id, str) or not isinstance(status, str):
                        raise PortkeyLineInvalidError(f"{path}: row {count} has no custom_id or no status.")
                    if usage is not None:
                        usage.add({name: outcome[name] for name in _USED if name in outcome})
                    rank = number + (_SUCCESS_RANK if status == "succeeded" else 0)
                    index.add(custom_id, rank, strict_json(outcome)[0])
            read.append({**names_of(path), "rows": count})
        return read

    @staticmethod
    def _outcome(index: OutcomeIndex, custom_id: str) -> dict[str, Any] | None:
        found = index.take(custom_id)
        return None if found is None else dict(json.loads(found))


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values of lists within lists: those of several mapped tasks."""
    for value in values:
        if value is None or type(value).__name__ == "ArgNotSet":  # the latter on Airflow 3.0
            continue  # of a task that returned nothing
        if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
            yield value
        else:
            yield from _flat(value)


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a row, with numbers also where they are text, as in csv."""
    found: dict[str, Any] = {}
    for name, kind in OUTCOME_COLUMNS.items():
        value = row.get(name)
        if value is None or (value == "" and name != "text"):
            continue
        if isinstance(value, str) and kind in ("integer", "number"):
            value = int(value) if kind == "integer" else float(value)
        found[name] = value
    return found
