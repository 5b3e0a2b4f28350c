"""A batch as a report: its phases, and the outcomes of its requests, whose number does not matter."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.batch.outcome_columns import body_of, read_row, read_usage
from airflow_provider_portkey.batch.outcomes import request_id_of, usage_of
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.values import read_number
from airflow_provider_portkey.report.charts import Bar, draw_columns, draw_timeline, format_seconds
from airflow_provider_portkey.report.figures import Fact, Figure, format_cost, format_time, read_time
from airflow_provider_portkey.report.texts import Excerpt, Texts, label

#: Failures that the page shows, and codes and models that its tables name.
MAX_FAILURES = 100
_MAX_NAMES = 50
#: Upper ends of the columns of tokens, and of seconds.
_TOKEN_STEPS = [size * 10**power for power in range(1, 7) for size in (1, 2, 5)]
_SECOND_STEPS = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400, 172_800]
#: Phases of a batch and the fields with their beginnings, in their order.
_PHASES = (("validating", "created_at"), ("in progress", "in_progress_at"), ("finalizing", "finalizing_at"))
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_STATUSES = ("succeeded", "failed", "expired", "cancelled", "invalid", "missing")


@dataclass(frozen=True)
class Failure:
    """A request without success, as the page shows it."""

    id: str
    status: str
    code: str
    message: Excerpt | None


@dataclass
class _Model:
    requests: int = 0
    input_tokens: int | float = 0
    output_tokens: int | float = 0
    cost: float | None = None


@dataclass
class _Outcome:
    """A line of a batch's output, or a row of a table of outcomes, in the words of that table."""

    id: str
    status: str
    code: str = ""
    message: Any = None
    model: str = ""
    finish_reason: str = ""
    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    cost: int | float | None = None
    created: float | None = field(default=None)


class BatchReport:
    """
    What the page of a batch shows.

    :param batch: The batch, as Portkey sent it.
    :param rows: Lines of its output, or rows of the table of its outcomes. They are read once.
    """

    template = "batch.html"
    kind = "batch"

    def __init__(self, batch: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
        self.batch = batch
        self.rows = 0
        self.texts = Texts()
        self.statuses: Counter[str] = Counter()
        self.codes: Counter[tuple[str, str]] = Counter()
        self.finish_reasons: Counter[str] = Counter()
        self.models: dict[str, _Model] = {}
        self.failures: list[Failure] = []
        self.errors: list[tuple[str, str]] = []
        self.tokens: list[int | float] = [0, 0]
        self.cost: float | None = None
        self._token_counts = [0] * (len(_TOKEN_STEPS) + 1)
        self._second_counts = [0] * (len(_SECOND_STEPS) + 1)
        self._begin = read_time(batch.get("in_progress_at")) or read_time(batch.get("created_at"))
        self._read_errors()
        for row in rows:
            self._add(_read_outcome(row))

    @property
    def title(self) -> str:
        """The heading."""
        return f"Batch {label(self.batch.get('id'))}"

    @property
    def status(self) -> str:
        """The batch's status."""
        return label(self.batch.get("status")) or "unknown"

    @property
    def status_class(self) -> str:
        """The CSS class of the status."""
        status = self.batch.get("status")
        if isinstance(status, str) and status in BATCH.success_statuses:
            return "succeeded"
        return "failed" if isinstance(status, str) and status in BATCH.failure_statuses else "active"

    @property
    def usage(self) -> dict[str, int | float]:
        """The tokens of all outcomes."""
        return {"input_tokens": self.tokens[0], "output_tokens": self.tokens[1], "total_tokens": sum(self.tokens)}

    def facts(self) -> list[Fact]:
        """Return names and times."""
        facts = [("Endpoint", label(self.batch.get("endpoint"))), ("Model", label(self.batch.get("model")))]
        facts += [
            ("Created", format_time(read_time(self.batch.get("created_at")))),
            ("Ended", format_time(self._ended)),
        ]
        return [Fact(name, value) for name, value in facts if value]

    def figures(self) -> list[Figure]:
        """Return the numbers at the top."""
        good = self.statuses["succeeded"]
        share = f"{good / self.rows:.1%} succeeded" if self.rows else ""
        created, ended = read_time(self.batch.get("created_at")), self._ended
        lasted = format_seconds(max(ended - created, 0)) if created is not None and ended is not None else "unknown"
        detail = f"{self.tokens[0]:,} input, {self.tokens[1]:,} output"
        figures = [
            Figure("Duration", lasted),
            Figure("Outcomes", f"{self.rows:,}", share),
            Figure("Without success", f"{self.rows - good:,}"),
            Figure("Tokens", f"{sum(self.tokens):,}", detail),
        ]
        return figures + ([Figure("Cost", format_cost(self.cost))] if self.cost is not None else [])

    def notes(self) -> list[str]:
        """Return what the page leaves out."""
        without = self.rows - self.statuses["succeeded"]
        notes = [f"The list has the first {MAX_FAILURES} of {without:,} failures."] if without > MAX_FAILURES else []
        if self.status_class == "active":
            notes.append("The batch had not ended when the report was written.")
        return notes

    def phases(self) -> str:
        """Return the phases in time, as SVG; empty where their times are not known."""
        times = [(name, at) for name, key in _PHASES if (at := read_time(self.batch.get(key))) is not None]
        if not times or self._ended is None:
            return ""
        begin, ends = times[0][1], [at for _, at in times[1:]] + [self._ended]
        bars = [
            Bar(at - begin, end - begin, "message_creation", str(number), f"{name}, {format_seconds(max(end - at, 0))}")
            for number, ((name, at), end) in enumerate(zip(times, ends, strict=True), 1)
        ]
        return draw_timeline(bars, self._ended - begin, name="Phases of the batch")

    def phase_names(self) -> str:
        """Return what the rows of the phases are."""
        names = [name for name, key in _PHASES if read_time(self.batch.get(key)) is not None]
        return ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))

    def statuses_chart(self) -> str:
        """Return the outcomes by status, as SVG."""
        present = [(status, count) for status in _STATUSES if (count := self.statuses[status])]
        titles = [f"{status}: {count:,}" for status, count in present]
        columns = [{status: float(count)} for status, count in present]
        return draw_columns(columns, titles, name="Outcomes by status", labels=[status for status, _ in present])

    def tokens_chart(self) -> str:
        """Return how many outcomes used how many tokens, as SVG."""
        return _histogram(self._token_counts, _TOKEN_STEPS, "Outcomes by tokens", lambda top: f"{top:,}")

    def latency_chart(self) -> str:
        """Return how many responses came how long after the beginning, as SVG."""
        return _histogram(self._second_counts, _SECOND_STEPS, "Responses by seconds", format_seconds)

    @property
    def _ended(self) -> float | None:
        return next((at for name in _ENDS if (at := read_time(self.batch.get(name))) is not None), None)

    def _read_errors(self) -> None:
        errors = self.batch.get("errors")
        found = errors.get("data") if isinstance(errors, Mapping) else None
        for error in (found if isinstance(found, list) else [])[:_MAX_NAMES]:
            if isinstance(error, Mapping):
                self.errors.append((label(error.get("code")), label(error.get("message"), 1_000)))

    def _add(self, outcome: _Outcome) -> None:
        self.rows += 1
        self.statuses[outcome.status] += 1
        self.tokens[0] += outcome.input_tokens or 0
        self.tokens[1] += outcome.output_tokens or 0
        total = (outcome.input_tokens or 0) + (outcome.output_tokens or 0)
        if total:
            self._token_counts[bisect_left(_TOKEN_STEPS, total)] += 1
        if outcome.cost is not None:
            self.cost = (self.cost or 0.0) + outcome.cost
        if outcome.created is not None and self._begin is not None:
            self._second_counts[bisect_left(_SECOND_STEPS, max(outcome.created - self._begin, 0))] += 1
        if outcome.finish_reason:
            _count(self.finish_reasons, outcome.finish_reason, "other")
        model = outcome.model or "unknown"
        sums = self.models.setdefault(
            model if model in self.models or len(self.models) < _MAX_NAMES else "other", _Model()
        )
        sums.requests += 1
        sums.input_tokens += outcome.input_tokens or 0
        sums.output_tokens += outcome.output_tokens or 0
        if outcome.cost is not None:
            sums.cost = (sums.cost or 0.0) + outcome.cost
        if outcome.status != "succeeded":
            _count(self.codes, (outcome.status, outcome.code or "none"), (outcome.status, "other"))
            if len(self.failures) < MAX_FAILURES:
                message = self.texts.excerpt(outcome.message)
                self.failures.append(Failure(label(outcome.id), outcome.status, outcome.code, message))


def _count(counter: Counter[Any], name: Any, other: Any) -> None:
    counter[name if name in counter or len(counter) < _MAX_NAMES else other] += 1


def _histogram(counts: list[int], steps: list[int], name: str, text: Any) -> str:
    """Return columns from the first to the last that is not empty; an empty text where all are."""
    used = [number for number, count in enumerate(counts) if count]
    if not used:
        return ""
    labels = [f"≤ {text(top)}" for top in steps] + [f"> {text(steps[-1])}"]
    shown = slice(used[0], used[-1] + 1)
    columns = [{"message_creation": float(count)} for count in counts[shown]]
    titles = [f"{one}: {count:,}" for one, count in zip(labels[shown], counts[shown], strict=True)]
    return draw_columns(columns, titles, name=name, labels=labels[shown])


def _read_outcome(row: Mapping[str, Any]) -> _Outcome:
    """Return a row of a table, or a line of output, as an outcome."""
    found = {**read_usage(usage_of(row)), **read_row(row)}
    body = body_of(row)
    status = found.get("status")
    return _Outcome(
        id=label(request_id_of(row)),
        status=status if status in _STATUSES else "failed",
        code=label(found.get("error_code"), 60),
        message=found.get("error_message"),
        model=label(found.get("model", body.get("model")), 60),
        finish_reason=label(found.get("finish_reason"), 60),
        input_tokens=read_number(found.get("input_tokens")),
        output_tokens=read_number(found.get("output_tokens")),
        cost=read_number(found.get("cost")),
        created=read_time(body.get("created", body.get("created_at"))),
    )
