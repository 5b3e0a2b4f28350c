"""A run as a report: its steps in time, what they used, what they called and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.export.message_texts import MESSAGE_TEXT
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.values import read_number
from airflow_provider_portkey.report.charts import Bar, draw_columns, draw_timeline, format_seconds
from airflow_provider_portkey.report.figures import Fact, Figure, format_cost, format_time, read_time
from airflow_provider_portkey.report.texts import Excerpt, Texts, label

#: Steps whose rows a page has; of later ones it has the sums and their place in the timeline.
MAX_STEPS = 10_000
#: Steps of one part of the list, which is closed until the reader opens it.
PART_STEPS = 50
#: Calls of one step, and the bytes of a call on the page beside its texts.
_MAX_CALLS = 50
_CALL_BYTES = 300
#: Steps that have a bar each; more of them are drawn as columns.
_MAX_BARS = 40
_COLUMNS = 96
#: Tools that the table names.
_MAX_TOOLS = 50
#: The types of steps that have a color of their own, OpenAI's; the others share one.
_TYPES = ("message_creation", "tool_calls")
_BAD = frozenset({"failed", "cancelled", "expired"})
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_ENDS = ("completed_at", "failed_at", "cancelled_at", "expired_at")
#: Where the kinds of tool calls have the arguments and the results.
_ARGUMENTS = ("arguments", "input")
_OUTPUTS = ("output", "outputs", "results")


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool, as the page shows it."""

    name: str
    arguments: Excerpt | None
    output: Excerpt | None


@dataclass(frozen=True)
class Step:
    """A step, as the page shows it; times in seconds from the run's creation."""

    number: int
    id: str
    type: str
    status: str
    css_class: str
    start: float
    seconds: float
    tokens: int | float | None
    message: Excerpt | None
    calls: list[ToolCall]
    other_calls: int
    details: Excerpt | None
    error: str
    #: What the closed row says: the tools, or the beginning of the message.
    summary: str


@dataclass
class Part:
    """Steps that stand together in the list."""

    steps: list[Step] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Steps that did not succeed."""
        return sum(step.css_class == "failed" for step in self.steps)


@dataclass
class _Sum:
    steps: int = 0
    failed: int = 0
    seconds: float = 0
    tokens: dict[str, int | float] = field(default_factory=lambda: dict.fromkeys(_TOKENS, 0))


class RunReport:
    """
    What the page of a run shows.

    :param run: The run, as Portkey sent it.
    :param steps: Its steps in the order of their creation, as Portkey sent them, each with ``message_text`` where the
        messages were read. They are read once.
    :param cost: What the run cost, in US dollars, where known.
    """

    template = "run.html"
    kind = "run"

    def __init__(self, run: Mapping[str, Any], steps: Iterable[Mapping[str, Any]], *, cost: float | None) -> None:
        self.run = run
        self.texts = Texts()
        self.parts: list[Part] = []
        self.by_type: dict[str, _Sum] = defaultdict(_Sum)
        self.tools: dict[str, int] = defaultdict(int)
        self.errors: list[tuple[str, str]] = []
        self.rows = 0
        self.cost = cost
        self._places: list[tuple[int, float, float | None, str, dict[str, int | float]]] = []
        self._begin = read_time(run.get("created_at"))
        self._ended = next((at for name in _ENDS if (at := read_time(run.get(name))) is not None), None)
        self._read_errors()
        for step in steps:
            self._add(step)

    @property
    def title(self) -> str:
        """The heading."""
        return f"Run {label(self.run.get('id'))}"

    @property
    def status(self) -> str:
        """The run's status."""
        return label(self.run.get("status")) or "unknown"

    @property
    def status_class(self) -> str:
        """The CSS class of the status."""
        status = self.run.get("status")
        known = isinstance(status, str)
        if known and status in RUN.success_statuses:
            return "succeeded"
        return "failed" if known and status in RUN.failure_statuses else "active"

    @property
    def seconds(self) -> float | None:
        """Seconds from the run's creation to its end, or to the last step that is known."""
        last = [end if end is not None else start for _, start, end, _, _ in self._places]
        if self._begin is not None and self._ended is not None:
            last.append(self._ended - self._begin)
        return max(last) if last else None

    def facts(self) -> list[Fact]:
        """Return names and times."""
        run = self.run
        facts = [
            (name, label(run.get(key)))
            for name, key in (("Thread", "thread_id"), ("Assistant", "assistant_id"), ("Model", "model"))
        ]
        facts += [
            (name, format_time(read_time(run.get(key))))
            for name, key in (("Created", "created_at"), ("Started", "started_at"))
        ]
        facts.append(("Ended", format_time(self._ended)))
        return [Fact(name, value) for name, value in facts if value]

    def figures(self) -> list[Figure]:
        """Return the numbers at the top."""
        usage = self.run.get("usage")
        given = usage if isinstance(usage, Mapping) else {}
        tokens = {name: read_number(given.get(name)) for name in _TOKENS}
        if tokens["total_tokens"] is None and self.rows:
            tokens = {name: sum(one.tokens[name] for one in self.by_type.values()) for name in _TOKENS}
        failed = sum(one.failed for one in self.by_type.values())
        detail = f"{tokens['prompt_tokens'] or 0:,} prompt, {tokens['completion_tokens'] or 0:,} completion"
        figures = [
            Figure("Duration", format_seconds(self.seconds) if self.seconds is not None else "unknown"),
            Figure("Steps", f"{self.rows:,}", f"{failed:,} not completed" if failed else ""),
            Figure("Tool calls", f"{sum(self.tools.values()):,}"),
            Figure("Tokens", f"{tokens['total_tokens'] or 0:,}", detail),
        ]
        return figures + ([Figure("Cost", format_cost(self.cost))] if self.cost is not None else [])

    def timeline(self) -> str:
        """Return the steps in time, as SVG."""
        if not self._places:
            return ""
        seconds = self.seconds or 0.0
        if len(self._places) <= _MAX_BARS:
            bars = [
                Bar(
                    start,
                    end if end is not None else seconds,
                    css_class,
                    str(number),
                    self._bar_title(number, css_class, start, end),
                )
                for number, start, end, css_class, _ in self._places
            ]
            return draw_timeline(bars, seconds, name="Steps over time")
        width = max(seconds, 1.0) / _COLUMNS
        columns: list[dict[str, float]] = [dict.fromkeys((*_TYPES, "other", "failed"), 0.0) for _ in range(_COLUMNS)]
        for _, start, _, css_class, _ in self._places:
            columns[min(max(int(start / width), 0), _COLUMNS - 1)][css_class] += 1
        titles = [
            f"From {format_seconds(number * width)}: {sum(column.values()):.0f} steps, "
            f"{column['failed']:.0f} not completed"
            for number, column in enumerate(columns)
        ]
        return draw_columns(columns, titles, name="Steps that began, over time", seconds=seconds)

    def tokens_chart(self) -> str:
        """Return the tokens of the steps in their order, as SVG; empty where no step names any."""
        if not any(tokens["total_tokens"] for *_, tokens in self._places):
            return ""
        each = -(-len(self._places) // _COLUMNS)
        columns, titles = [], []
        for first in range(0, len(self._places), each):
            group = self._places[first : first + each]
            column = {
                name: float(sum(tokens[name] for *_, tokens in group))
                for name in ("prompt_tokens", "completion_tokens")
            }
            columns.append(column)
            steps = f"Step {group[0][0]}" if len(group) == 1 else f"Steps {group[0][0]} to {group[-1][0]}"
            titles.append(
                f"{steps}: {column['prompt_tokens']:,.0f} prompt, {column['completion_tokens']:,.0f} completion tokens"
            )
        labels = [str(group * each + 1) for group in range(len(columns))]
        return draw_columns(columns, titles, name="Tokens by step", labels=labels)

    def legend(self) -> list[tuple[str, str]]:
        """Return the CSS classes of the timeline and what they mean."""
        present = {css_class for _, _, _, css_class, _ in self._places}
        meanings = {
            "message_creation": "message",
            "tool_calls": "tool calls",
            "other": "other step",
            "failed": "not completed",
        }
        return [(css_class, meaning) for css_class, meaning in meanings.items() if css_class in present]

    def types(self) -> Iterator[tuple[str, _Sum]]:
        """Return the sums by type of step, in the order of their names."""
        return iter(sorted(self.by_type.items()))

    def tool_counts(self) -> list[tuple[str, int]]:
        """Return the tools that were called most, and how often."""
        return sorted(self.tools.items(), key=lambda item: (-item[1], item[0]))[:_MAX_TOOLS]

    def notes(self) -> list[str]:
        """Return what the page leaves out, and what may be missing."""
        notes = []
        if self.status_class == "active":
            notes.append("The run had not ended when the report was written: later steps are missing.")
        if self.rows > MAX_STEPS:
            notes.append(
                f"The list has the first {MAX_STEPS:,} of {self.rows:,} steps; sums and charts have all of them."
            )
        if self.texts.without_room:
            notes.append(
                f"{self.texts.without_room:,} texts are left out: the page is full. The exported steps have them."
            )
        return notes

    def _read_errors(self) -> None:
        for name in RUN.error_fields:
            if isinstance(error := self.run.get(name), Mapping) and error:
                code = label(error.get("code") or error.get("reason")) or label(name)
                self.errors.append((code, label(error.get("message"), 1_000)))

    def _add(self, step: Mapping[str, Any]) -> None:
        self.rows += 1
        created = read_time(step.get("created_at"))
        if self._begin is None:
            self._begin = created
        start = created - self._begin if created is not None and self._begin is not None else 0.0
        ended = next((at for name in _ENDS if (at := read_time(step.get(name))) is not None), None)
        end = ended - self._begin if ended is not None and self._begin is not None else None
        usage = step.get("usage")
        numbers = {name: read_number(usage.get(name)) if isinstance(usage, Mapping) else None for name in _TOKENS}
        tokens = {name: value or 0 for name, value in numbers.items()}
        kind, status = label(step.get("type"), 40) or "unknown", step.get("status")
        bad = isinstance(status, str) and status in _BAD
        css_class = "failed" if bad else kind if kind in _TYPES else "other"
        total = self.by_type[kind if kind in self.by_type or len(self.by_type) < _MAX_TOOLS else "other"]
        total.steps += 1
        total.failed += bad
        total.seconds += max(end - start, 0.0) if end is not None else 0.0
        for name, value in tokens.items():
            total.tokens[name] += value
        self._places.append((self.rows, start, end, css_class, tokens))
        calls = _calls_of(step)
        for call in calls:
            name = _tool_name(call)
            self.tools[name if name in self.tools or len(self.tools) < 10 * _MAX_TOOLS else "other"] += 1
        if self.rows <= MAX_STEPS:
            self._list(
                step,
                kind,
                css_class,
                start,
                max(end - start, 0.0) if end is not None else 0.0,
                numbers["total_tokens"],
                calls,
            )

    def _list(
        self,
        step: Mapping[str, Any],
        kind: str,
        css_class: str,
        start: float,
        seconds: float,
        tokens: int | float | None,
        calls: list[Any],
    ) -> None:
        if not self.parts or len(self.parts[-1].steps) == PART_STEPS:
            self.parts.append(Part())
        error = step.get("last_error")
        given = error if isinstance(error, Mapping) else {}
        text = self.texts.label
        message = self.texts.excerpt(step.get(MESSAGE_TEXT))
        shown = [self._tool_call(call) for call in calls[:_MAX_CALLS] if self.texts.take(_CALL_BYTES)]
        self.parts[-1].steps.append(
            Step(
                number=self.rows,
                id=text(step.get("id")),
                type=text(kind),
                status=text(step.get("status"), 40) or "unknown",
                css_class=css_class,
                start=start,
                seconds=seconds,
                tokens=tokens,
                message=message,
                calls=shown,
                other_calls=len(calls) - len(shown),
                details=None if kind in _TYPES else self.texts.excerpt(step.get("step_details")),
                error=": ".join(filter(None, (text(given.get("code")), text(given.get("message"), 500)))),
                summary=text(", ".join(map(_tool_name, calls[:5])) if calls else message.text if message else ""),
            )
        )

    def _tool_call(self, call: Any) -> ToolCall:
        arguments, output = _first(call, _ARGUMENTS), _first(call, _OUTPUTS)
        return ToolCall(self.texts.label(_tool_name(call)), self.texts.excerpt(arguments), self.texts.excerpt(output))

    def _bar_title(self, number: int, css_class: str, start: float, end: float | None) -> str:
        kind = css_class.replace("_", " ")
        lasts = f", {format_seconds(max(end - start, 0.0))}" if end is not None else ""
        return f"Step {number}: {kind} at {format_seconds(start)}{lasts}"


def _calls_of(step: Mapping[str, Any]) -> list[Any]:
    details = step.get("step_details")
    calls = details.get("tool_calls") if isinstance(details, Mapping) else None
    return calls if isinstance(calls, list) else []


def _body(call: Any) -> tuple[str, Any]:
    """Return the kind of a call, and the object with its arguments and output."""
    if not isinstance(call, Mapping):
        return "unknown", {"input": call}
    kind = call.get("type")
    body = call.get(kind) if isinstance(kind, str) else None
    return label(kind, 60) or "unknown", body if isinstance(body, Mapping) else {
        k: v for k, v in call.items() if k not in ("id", "type")
    }


def _tool_name(call: Any) -> str:
    kind, body = _body(call)
    return label(body.get("name"), 60) or kind


def _first(call: Any, names: tuple[str, ...]) -> Any:
    """Return the first of several fields that a call has; for its arguments without any of them, the rest."""
    _, body = _body(call)
    for name in names:
        if body.get(name) not in (None, ""):
            return body[name]
    return (
        None if names is _OUTPUTS else {name: value for name, value in body.items() if name not in (*_OUTPUTS, "name")}
    )
