"""Portkey's analytics of a window to a file in object storage: requests, cost, tokens, errors, latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_portkey.analytics.report import AnalyticsReport
    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats


class PortkeyAnalyticsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write a report of Portkey's analytics over a window to a file, one row for each group and interval.

    The same window gives the same file: put the window into ``path``, and a retry, a clear and a backfill replace
    their own file.

    :param report: ``"requests"``, ``"cost"`` (cents, as Portkey's API has them), ``"tokens"``, ``"errors"`` or
        ``"latency"`` (milliseconds) (templated).
    :param window_start: The start of the window, with its zone (templated).
    :param window_end: The end of the window, with its zone, in the past; does not belong to the window (templated).
    :param group_by: ``None``, ``"model"``, ``"provider"``, ``"user"``, or ``"metadata."`` and a key, such as
        ``"metadata.team"`` (templated).
    :param interval: ``"hour"`` or ``"day"``: a row for each hour or day in UTC; ``"window"``: one row for all;
        ``"auto"``: the intervals that Portkey itself chooses for a graph, whose ends are unknown, and the window for
        groups that Portkey lists (templated).
    :param workspace_slug: The workspace; ``None`` for the connection's (templated).
    :param models: The models that ``group_by="provider"`` and ``"model"`` select by, as ``provider__model``; only for
        ``report="requests"`` by model Portkey lists them itself (templated).
    :param filters: Which requests of the window, such as ``{"metadata": {"team": "data"}}``, with the names of
        Portkey's API (templated).
    :param columns: ``"focus"`` for a cost report in the columns of FOCUS 1.2, in US dollars; ``None`` for the columns
        of the report.
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "report",
        "window_start",
        "window_end",
        "group_by",
        "interval",
        "workspace_slug",
        "models",
        "filters",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    rows_from = "/analytics/graphs/{report}"
    _analytics: AnalyticsReport

    def __init__(
        self,
        *,
        report: str,
        window_start: str | datetime = "{{ data_interval_start }}",
        window_end: str | datetime = "{{ data_interval_end }}",
        group_by: str | None = None,
        interval: str = "auto",
        workspace_slug: str | None = None,
        models: Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        columns: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.report = report
        self.window_start = window_start
        self.window_end = window_end
        self.group_by = group_by
        self.interval = interval
        self.workspace_slug = workspace_slug
        self.models = models
        self.filters = filters
        if columns not in (None, "focus"):
            raise PortkeyInvalidArgumentError("columns", columns, "'focus' or None")
        self._focus = columns == "focus"
        self._validate()
        self._check_literals()

    def _check_literals(self) -> None:
        """Check what the parameters are together, where a DAG constructs the operator and none of them is templated."""
        from airflow_provider_portkey.parameters import is_template

        models = self.models if isinstance(self.models, list) else [self.models]
        if not any(map(is_template, (self.report, self.group_by, self.interval, *models))):
            from airflow_provider_portkey.analytics.report import check_selection

            check_selection(self.report, self.group_by, self.interval, self.models, self.filters, focus=self._focus)
        if not any(map(is_template, (self.window_start, self.window_end))):
            from airflow_provider_portkey.export.window import read_window

            read_window(self.window_start, self.window_end)

    def columns(self) -> Columns:
        """Return the columns of the report, or those of FOCUS."""
        return self._analytics.columns

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the report, its groups and its window, and the rows."""
        from airflow_provider_portkey.analytics.report import AnalyticsReport

        self._analytics = AnalyticsReport(
            report=self.report,
            group_by=self.group_by,
            window_start=self.window_start,
            window_end=self.window_end,
            interval=self.interval,
            workspace_slug=self.workspace_slug or self.hook.settings.workspace_slug,
            models=self.models,
            filters=self.filters,
            focus=self._focus,
        )
        return self._analytics.about, self._analytics.rows(self.hook, stats.add_page)
