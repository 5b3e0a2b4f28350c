"""Charts as SVG: shapes with classes, whose colors the page's style sheet sets for light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

#: The user units of a chart's width, of which the left part has the labels.
_WIDTH = 960
_LEFT = 56
_RIGHT = 8
_PLOT = _WIDTH - _LEFT - _RIGHT
#: The height of the axis with its labels, and of the columns above it.
_AXIS = 26
_COLUMNS = 140
#: A row of a timeline, and the bar in it.
_ROW = 18
_BAR = 12
#: A bar or column that would be narrower is drawn so wide, or nobody sees it.
_NARROWEST = 3
_TICKS = 8
#: Seconds between two labels of an axis of time, as clocks count; longer axes have whole days.
_TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Bar:
    """
    A bar of a timeline.

    :param start: Seconds from the beginning.
    :param end: Seconds from the beginning.
    :param css_class: Sets the color.
    :param name: The label to the left of the bar.
    :param title: Shown under the pointer.
    """

    start: float
    end: float
    css_class: str
    name: str
    title: str


def check_installed() -> None:
    """
    Import the library that draws.

    :raises AirflowOptionalProviderFeatureException: naming the extra to install.
    """
    try:
        import drawsvg  # noqa: F401
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            "The library that draws reports is not installed: pip install 'airflow-provider-portkey[report]'."
        ) from error


def draw_timeline(bars: Sequence[Bar], seconds: float, *, name: str) -> str:
    """
    Return one row for each bar over an axis of seconds.

    :param seconds: The length of the axis.
    :param name: What the chart shows, for readers that hear the page.
    """
    seconds = max(seconds, 1.0)
    height = len(bars) * _ROW
    drawing = _drawing(height, name)
    _draw_time_axis(drawing, seconds, height)
    for row, bar in enumerate(bars):
        top = row * _ROW + (_ROW - _BAR) / 2
        _text(drawing, bar.name, _LEFT - 8, row * _ROW + _ROW - 5, anchor="end")
        start, end = (min(max(at, 0.0), seconds) / seconds * _PLOT for at in (bar.start, bar.end))
        width = max(end - start, _NARROWEST)
        _box(drawing, _LEFT + min(start, _PLOT - width), top, width, _BAR, bar.css_class, bar.title)
    return _svg(drawing)


def draw_columns(
    columns: Sequence[Mapping[str, float]],
    titles: Sequence[str],
    *,
    name: str,
    labels: Sequence[str] = (),
    seconds: float | None = None,
) -> str:
    """
    Return stacked columns.

    :param columns: For each column the values of its parts by their CSS classes, from the bottom to the top.
    :param titles: For each column what is shown under the pointer.
    :param name: What the chart shows, for readers that hear the page.
    :param labels: The labels below the columns; some are left out where there is no room.
    :param seconds: In place of labels an axis of so many seconds.
    """
    drawing = _drawing(_COLUMNS, name)
    highest = max((sum(column.values()) for column in columns), default=0) or 1
    # Half of one request is nothing that a reader could count.
    for part in (0, 0.5, 1) if highest > 1 else (0, 1):
        y = _COLUMNS - part * (_COLUMNS - 12)
        _line(drawing, _LEFT, y, _WIDTH - _RIGHT, y)
        _text(drawing, _short(highest * part), _LEFT - 8, y + 4, anchor="end")
    step = _PLOT / max(len(columns), 1)
    width = max(min(step * 0.8, 60), min(step, _NARROWEST))
    for number, (column, title) in enumerate(zip(columns, titles, strict=True)):
        top: float = _COLUMNS
        for css_class, value in column.items():
            if value:
                height = value / highest * (_COLUMNS - 12)
                top -= height
                _box(drawing, _LEFT + number * step + (step - width) / 2, top, width, height, css_class, title)
    if seconds is not None:
        _draw_time_axis(drawing, max(seconds, 1.0), _COLUMNS)
    every = math.ceil(len(labels) / 16) or 1
    for number, text in enumerate(labels):
        if number % every == 0:
            _text(drawing, text, _LEFT + (number + 0.5) * step, _COLUMNS + 18, anchor="middle")
    return _svg(drawing)


def format_seconds(seconds: float) -> str:
    """Return seconds as people read them: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _drawing(height: float, name: str) -> Any:
    import drawsvg

    attributes = {"class_": "chart", "role": "img", "aria_label": name}
    return drawsvg.Drawing(_WIDTH, height + _AXIS, **attributes)


def _svg(drawing: Any) -> str:
    # Without the pixels of width and height the drawing takes the width of the page.
    svg: str = drawing.as_svg(header="", skip_js=True, skip_css=True)
    return svg


def _draw_time_axis(drawing: Any, seconds: float, height: float) -> None:
    days = math.ceil(seconds / _TICKS / _TICK_STEPS[-1]) * _TICK_STEPS[-1]
    step = next((step for step in _TICK_STEPS if step * _TICKS >= seconds), days)
    for number in range(int(seconds / step) + 1):
        at = _LEFT + number * step / seconds * _PLOT
        _line(drawing, at, 0, at, height)
        anchor = "end" if at > _WIDTH - 40 else "middle"
        _text(drawing, format_seconds(number * step) if number else "0", at, height + 18, anchor=anchor)


def _box(drawing: Any, x: float, y: float, width: float, height: float, css_class: str, title: str) -> None:
    import drawsvg

    box = drawsvg.Rectangle(*(round(value, 1) for value in (x, y, width, height)), class_=css_class)
    box.append_title(title)
    drawing.append(box)


def _line(drawing: Any, x1: float, y1: float, x2: float, y2: float) -> None:
    import drawsvg

    drawing.append(drawsvg.Line(*(round(value, 1) for value in (x1, y1, x2, y2)), class_="grid"))


def _text(drawing: Any, text: str, x: float, y: float, *, anchor: str) -> None:
    import drawsvg

    drawing.append(drawsvg.Text(text, 12, round(x, 1), round(y, 1), text_anchor=anchor))


def _short(value: float) -> str:
    """Return a number for an axis, such as ``1.5k``."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"
