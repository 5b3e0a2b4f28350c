"""The log exports of one task: planned once, started once each, and found again by the task's next process."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.jobs.log_export import LOG_EXPORT
from airflow_provider_portkey.log_export.plan import DONE, DRAFT, STARTED, Part, Plan, make_plan

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.state.task import TaskState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogRequest:
    """
    What is to be exported.

    :param window: The window.
    :param filters: Other filters than the window.
    :param requested_data: The fields of each row.
    :param workspace_id: The workspace, by its slug.
    :param description: Shown in Portkey's list of exports; Portkey's service refuses a draft without one.
    """

    window: Window
    filters: Mapping[str, Any]
    requested_data: Sequence[str]
    workspace_id: str | None
    description: str

    @property
    def fingerprint(self) -> str:
        """A string that differs for another request."""
        about = [self.window.to_dict(), dict(self.filters), list(self.requested_data), self.workspace_id]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def count(self, hook: PortkeyHook, window: Window, draft: str | None) -> tuple[str, int]:
        """
        Have Portkey count the logs of a window, in a new draft or in another one that is changed for the window.

        :return: The draft's id and the number.
        :raises PortkeyUnexpectedResponseError: where the response lacks either.
        """
        what: dict[str, Any] = {
            "filters": {**self.filters, **window.to_filters()},
            "requested_data": self.requested_data,
            "workspace_id": self.workspace_id,
        }
        if draft:
            response = hook.update_log_export(draft, **what)
        else:
            response = hook.create_log_export(**what, description=self.description)
        export_id, total = draft or response.get("id"), response.get("total")
        if not isinstance(export_id, str) or not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise PortkeyUnexpectedResponseError(
                f"A draft of a log export has an id and a total; the response was: {response!r:.200}"
            )
        return export_id, total


class LogExportSession:
    """
    A task's exports, and their state in the task state.

    :param hook: Sends the requests.
    :param task_state: The task's own.
    """

    def __init__(self, *, hook: PortkeyHook, task_state: TaskState) -> None:
        self._hook = hook
        self._task_state = task_state
        self._fingerprint = ""
        #: When the export began, epoch seconds.
        self.since = time.time()
        self.plan = Plan()

    @property
    def pending(self) -> list[dict[str, str]]:
        """The exports to wait for, in the order of time, by their ids."""
        return [{"export_id": part.export_id} for part in self.plan.of_stage(STARTED)]

    def recall(self) -> bool:
        """Return whether an earlier process has left a plan, and continue with it."""
        known = self._task_state.read()
        if "parts" not in known:
            return False
        self.plan, self.since, self._fingerprint = Plan.from_dict(known), known["since"], known["fingerprint"]
        return True

    def attach(self, request: LogRequest) -> None:
        """
        Continue where an earlier process stopped, or plan; afterwards every export is started or has finished.

        :raises PortkeyWindowTooFullError: where one second has more logs than an export holds.
        """
        known = self._task_state.read()
        cleared = known.get("clear_count") != self._task_state.clear_count
        if not self.recall() or self._fingerprint != request.fingerprint or not self.plan.parts:
            self._make(request)
        elif cleared or known["try_number"] != self._task_state.try_number or self.plan.of_stage(DRAFT):
            self._catch_up(request, cleared=cleared)
        for part in self.plan.of_stage(DRAFT):
            # Not sent again where its outcome is unknown: the next try checks the status first.
            self._hook.start_log_export(part.export_id)
            part.stage = STARTED
        self._save()

    def forget(self) -> None:
        """Let the next try plan from the start."""
        self._task_state.write({})

    def clear(self) -> None:
        """Delete what no later process needs."""
        self._task_state.clear()

    def cancel(self) -> None:
        """Cancel every export that may still run."""
        for part in self.plan.of_stage(STARTED):
            try:
                self._hook.cancel_log_export(part.export_id)
            except PortkeyRequestError as error:
                log.warning("%s", error)

    def _make(self, request: LogRequest) -> None:
        self.since = time.time()
        self._fingerprint = request.fingerprint
        self.plan = self._plan(request, request.window)
        log.info("%d logs, in %d exports.", self.plan.high, len(self.plan.parts))
        # Before the first start: a plan that is lost up to here has cost nothing.
        self._save()

    def _catch_up(self, request: LogRequest, *, cleared: bool) -> None:
        self.since = time.time()
        statuses = [(part, self._status(part)) for part in self.plan.parts]
        if cleared and all(status in LOG_EXPORT.success_statuses for _, status in statuses):
            log.info("The exports of this task had all finished before it was cleared; exporting again.")
            self._make(request)
            return
        for part, status in statuses:
            if status is None or status in LOG_EXPORT.failure_statuses:
                log.info("Log export %r is %s; exporting its part again.", part.export_id, status or "gone")
                self.plan.replace(part, self._plan(request, part.window))
            elif status == DRAFT:
                part.stage = DRAFT
            else:
                part.stage = DONE if status in LOG_EXPORT.success_statuses else STARTED
        log.info("Continuing with %d exports that an earlier process planned.", len(self.plan.parts))
        self._save()

    def _plan(self, request: LogRequest, window: Window) -> Plan:
        return make_plan(window, lambda part, draft: request.count(self._hook, part, draft))

    def _status(self, part: Part) -> str | None:
        try:
            status = self._hook.get_log_export(part.export_id).get("status")
        except PortkeyNotFoundError:
            return None
        if not isinstance(status, str):
            raise PortkeyUnexpectedResponseError(f"Log export {part.export_id!r} has the status {status!r}.")
        return status

    def _save(self) -> None:
        self._task_state.write(
            {
                "fingerprint": self._fingerprint,
                "clear_count": self._task_state.clear_count,
                "try_number": self._task_state.try_number,
                "since": self.since,
                **self.plan.to_dict(),
            }
        )
