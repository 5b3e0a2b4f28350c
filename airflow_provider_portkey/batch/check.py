"""The quality gate: figures of a batch's results, row by row, and their thresholds."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.batch.outcome_columns import STATUSES, parsed_column, read_row
from airflow_provider_portkey.batch.rows import format_of, open_table
from airflow_provider_portkey.batch.schema import ResponseSchema, parse_text
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyLineInvalidError
from airflow_provider_portkey.export.atomic import file_path, path_in
from airflow_provider_portkey.jobs.values import read_number

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

#: The statuses of rows of a joined table.
SUCCEEDED, INVALID = "succeeded", "invalid"
#: The thresholds, each with its figure, and whether the figure must be at least the threshold.
_CHECKS = {
    "min_success_ratio": ("success_ratio", True),
    "min_valid_ratio": ("valid_ratio", True),
    "min_score": ("mean_score", True),
    "max_score": ("mean_score", False),
}

#: Why a figure is not there.
_NO_FIGURE = {
    "success_ratio": "there is no row",
    "valid_ratio": "no row has a response",
    "mean_score": "no row has a number as its score",
}

Scorer = Callable[[Mapping[str, Any]], "float | None"]


@dataclass(kw_only=True)
class BatchCheck:
    """
    The figures of the rows of a joined table, or of the lines of a batch's output. Memory holds the counts.

    :param score_field: A path into ``parsed``, such as ``"review.score"``.
    :param scorer: Returns the score of a row, or ``None``.
    :param schema: What ``parsed`` has to fit; ``None`` to go by the status ``invalid``.
    """

    score_field: str | None = None
    scorer: Scorer | None = None
    schema: ResponseSchema | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    _scored: int = 0
    _unscored: int = 0
    _total: Decimal = Decimal(0)

    @property
    def reads_rows(self) -> bool:
        """Whether counts by status do not suffice."""
        return bool(self.score_field or self.scorer or self.schema)

    def add(self, row: Mapping[str, Any], *, name: str, number: int) -> None:
        """
        Count a row.

        :param name: What errors call the file.
        :param number: The number of the row in the file, from 1.
        :raises PortkeyLineInvalidError: for a row without a status.
        """
        row = read_row(row)
        status = row.get("status")
        if not isinstance(status, str) or not status:
            raise PortkeyLineInvalidError(
                f"{name}: row {number} is neither of a joined table (it has no status) nor a line of a batch's output; "
                f"it has {sorted(row)}."
            )
        if status == SUCCEEDED and self.reads_rows:
            row["parsed"], problem = _value_of(row)
            if self.schema is not None and (problem or self.schema.problem(row["parsed"])):
                status = INVALID
            elif self.score_field or self.scorer:
                self._add_score(row, name, number)
        self.statuses[status] += 1

    def figures(self) -> dict[str, Any]:
        """
        Return the figures, as XCom has them.

        ``success_ratio`` is the share of the rows that succeeded and are valid, ``valid_ratio`` the valid share of
        those with a response, ``mean_score`` the mean over those with a score; ``None`` where there is no such row.
        """
        rows, succeeded, invalid = self.statuses.total(), self.statuses[SUCCEEDED], self.statuses[INVALID]
        return {
            "rows": rows,
            "status_counts": dict(sorted((name, count) for name, count in self.statuses.items() if count)),
            "success_ratio": succeeded / rows if rows else None,
            "valid_ratio": succeeded / (succeeded + invalid) if succeeded + invalid else None,
            "mean_score": float(self._total / self._scored) if self._scored else None,
            "scored": self._scored,
            "unscored": self._unscored,
        }

    def _add_score(self, row: Mapping[str, Any], name: str, number: int) -> None:
        try:
            value = self.scorer(row) if self.scorer else _value_at(row["parsed"], self.score_field or "")
        except Exception as error:
            error.add_note(f"The scorer failed at row {number} of {name}.")
            raise
        score = None if isinstance(value, bool) else read_number(value)
        if score is None:
            self._unscored += 1
            return
        self._scored += 1
        self._total += Decimal(repr(score))


def run_check(
    *,
    path: str | None,
    manifest: Any,
    table_format: str | None,
    object_storage_conn_id: str | None,
    json_schema: Any,
    score_field: str | None,
    scorer: object,
    thresholds: Mapping[str, float | None],
) -> dict[str, Any]:
    """
    Return the figures of files or manifests, the ``checks``, ``passed``, and a ``summary`` in words.

    The parameters are those of ``PortkeyBatchCheckOperator``.
    """
    check = BatchCheck(
        score_field=score_field,
        scorer=import_scorer(scorer),
        schema=None if json_schema is None else ResponseSchema(json_schema),
    )
    manifests = _manifests(manifest)
    counts = [counts_of(one) for one in manifests]
    if counts and None not in counts and not check.reads_rows:
        for one in counts:
            check.statuses.update(one or {})
    else:
        for file, file_format in list(_files(path, manifests, table_format, object_storage_conn_id)):
            with open_table(file, file_format) as table:
                for number, row in enumerate(table.rows, 1):
                    check.add(row, name=table.name, number=number)
    figures = check.figures()
    figures["checks"] = check_figures(figures, thresholds)
    figures["passed"] = all(one["passed"] for one in figures["checks"])
    figures["summary"] = _sentence(figures)
    if figures["unscored"]:
        log.warning(
            "%d of %d rows with a response have no score, and are not in the mean.",
            figures["unscored"],
            figures["unscored"] + figures["scored"],
        )
    log.info("%s", figures["summary"])
    return figures


def _files(
    path: str | None, manifests: Iterable[Mapping[str, Any]], table_format: str | None, conn_id: str | None
) -> Iterator[tuple[ObjectStoragePath, str]]:
    named: list[tuple[Any, Any, str]] = [] if path is None else [(path, None, "path")]
    named += [(path_in(one), one.get("format"), "manifest") for one in manifests]
    for uri, given, name in named:
        if not isinstance(uri, str):
            raise PortkeyInvalidArgumentError(name, uri, "a manifest with the 'path' of a file")
        file_format = format_of(uri, table_format or given, field=name)
        if file_format not in ("jsonl", "csv", "parquet"):
            raise PortkeyInvalidArgumentError(name, uri, f"a file of jsonl, csv or parquet, not {file_format}")
        yield file_path(uri, conn_id, field=name), file_format


def _manifests(manifest: Any) -> list[Mapping[str, Any]]:
    if manifest is None:
        return []
    given = parsed_column(manifest)
    found = [given] if isinstance(given, Mapping) else list(given) if isinstance(given, Iterable) else []
    if not found or isinstance(given, str) or not all(isinstance(one, Mapping) for one in found):
        raise PortkeyInvalidArgumentError("manifest", manifest, "the manifest of a batch's output, or a list of these")
    return found


def check_figures(figures: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """
    Compare figures with their thresholds.

    :param thresholds: By the names of the operator's parameters; ``None`` for no threshold.
    :return: Name, figure, threshold and result of each check. A figure that is not there does not pass.
    """
    checks = []
    for name, (figure, at_least) in _CHECKS.items():
        if (threshold := thresholds[name]) is None:
            continue
        value = figures[figure]
        passed = value is not None and (value >= threshold if at_least else value <= threshold)
        checks.append({"check": name, "value": value, "threshold": threshold, "passed": passed})
    return checks


def counts_of(manifest: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the rows by status of an export's manifest, ``None`` where the manifest does not count them all."""
    counts = {status: count for status in STATUSES if type(count := manifest.get(status)) is int}
    if counts.keys() == set(STATUSES):  # of a joined table
        return counts
    requests = manifest.get("requests")
    if type(requests) is not int or not {SUCCEEDED, "failed"} <= counts.keys():
        return None
    succeeded, failed = counts[SUCCEEDED], counts["failed"]
    return {SUCCEEDED: succeeded, "failed": failed, "missing": requests - succeeded - failed}


def import_scorer(scorer: object) -> Scorer | None:
    """
    Return a scorer that is given as such or by its name, such as ``"my_package.scores.relevance"``.

    :raises PortkeyInvalidArgumentError: where the name leads to nothing that can be called.
    """
    if scorer is None or callable(scorer):
        return scorer
    expected = "a function that takes a row, or its name, such as 'my_package.scores.relevance'"
    module, _, name = str(scorer).rpartition(".")
    try:
        found = getattr(import_module(module), name) if isinstance(scorer, str) and module else None
    except (ImportError, AttributeError) as error:
        raise PortkeyInvalidArgumentError("scorer", scorer, f"{expected}; {error}") from error
    if not callable(found):
        raise PortkeyInvalidArgumentError("scorer", scorer, expected)
    return found  # type: ignore[no-any-return]


def _value_of(row: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Return the value of a response: ``parsed``, or its text where that is JSON; and otherwise why it has none."""
    parsed = row.get("parsed")
    if parsed is not None and not isinstance(parsed, str):
        return parsed, None
    return parse_text(parsed or row.get("text"))


def _value_at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _sentence(figures: Mapping[str, Any]) -> str:
    checks = "; ".join(
        f"{check['check']}={check['threshold']:g} is "
        + (
            f"not met, as {_NO_FIGURE[_CHECKS[check['check']][0]]}"
            if check["value"] is None
            else f"{'met' if check['passed'] else 'not met'} by {check['value']:.4g}"
        )
        for check in figures["checks"]
    )
    counts = ", ".join(f"{count} {status}" for status, count in figures["status_counts"].items())
    return f"{figures['rows']} rows ({counts or 'none'}): {checks}."
