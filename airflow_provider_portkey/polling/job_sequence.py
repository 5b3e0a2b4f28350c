"""Waiting for several jobs of one kind as a pure state machine, as ``poller`` is for one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.polling.drivers import Get, Plan
from airflow_provider_portkey.polling.events import SUCCEEDED
from airflow_provider_portkey.polling.poller import Poller, PollOutcome
from airflow_provider_portkey.polling.wait_state import WaitState


class JobSequencePoller(Poller):
    """
    Follows several jobs until all have succeeded, or one has failed.

    Only the first job that has not finished is polled: the others cost a request each when their turn comes.

    :param job: The kind of job.
    :param pending: The jobs that have not finished, by their ids; at least one.
    :param state: The wait for all of them together.
    """

    def __init__(self, job: JobSpec, pending: Sequence[Mapping[str, str]], state: WaitState) -> None:
        super().__init__(job, pending[0], state)
        self._pending = [dict(ids) for ids in pending]

    @property
    def pending(self) -> list[dict[str, str]]:
        """The jobs that have not finished, as far as is known."""
        return list(self._pending)

    def requests(self, now: float) -> Plan[list[Mapping[str, Any]]]:
        """Plan a request for each job, up to the first that has not succeeded."""
        responses: list[Mapping[str, Any]] = []
        for ids in self._pending:
            responses.append((yield Get(self.job.path, ids)))
            if not self._has_succeeded(responses[-1]):
                break
        return responses

    def on_response(self, response: Any, now: float) -> PollOutcome:
        """Decide after a poll whose result is a list of responses, one for each polled job."""
        responses: list[Mapping[str, Any]] = response
        reports = []
        for job in responses:
            outcome = super().on_response(job, now)
            reports += [outcome.report] if outcome.report else []
            if not outcome.event or outcome.event["reason"] != SUCCEEDED or len(self._pending) == 1:
                break
            del self._pending[0]
            self.ids = self._pending[0]
            self.state = self.state.changed(status=None, progress="", created_at=None)
        return outcome._replace(report=" ".join(reports) or None)

    def _has_succeeded(self, response: Mapping[str, Any]) -> bool:
        status = response.get("status")
        return isinstance(status, str) and status in self.job.success_statuses
