"""A thread whose runs the plans request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyNotFoundError, PortkeyRequestError
from airflow_provider_portkey.polling.drivers import Get, Plan, drive


class FakeThread:
    """
    A thread's runs, newest first, with the methods of both clients that a plan needs.

    :param runs: The runs.
    """

    def __init__(self, runs: Sequence[dict[str, Any]]) -> None:
        self.runs = list(runs)
        #: The requests of the latest plan.
        self.requests: list[Get] = []
        #: Errors by the run after which a page starts, or by the run that is requested.
        self.errors: dict[str | None, PortkeyRequestError] = {}
        self.ignores_after = False
        #: Runs that the list leaves out, though each can be requested.
        self.unlisted: set[str] = set()

    def get(self, path: str, ids: Mapping[str, str], query: Any = None) -> dict[str, Any]:
        self.requests.append(Get(path, ids, query))
        after = dict(query or ()).get("after")
        if error := self.errors.get(ids.get("run_id", after)):
            raise error
        if "run_id" in ids:
            found = [run for run in self.runs if run["id"] == ids["run_id"]]
            if not found:
                raise PortkeyNotFoundError(f"no run {ids['run_id']}", status_code=404)
            return found[0]
        listed, start = [run for run in self.runs if run["id"] not in self.unlisted], 0
        if after is not None and not self.ignores_after:
            start = 1 + [run["id"] for run in listed].index(after)
        end = start + int(dict(query)["limit"])
        return {"data": listed[start:end], "has_more": end < len(listed)}

    async def aget(self, path: str, ids: Mapping[str, str], query: Any = None) -> dict[str, Any]:
        return self.get(path, ids, query)

    def drive(self, plan: Plan[Any]) -> Any:
        """Carry out a plan."""
        self.requests = []
        return drive(plan, self.get)

    @property
    def page_starts(self) -> list[str | None]:
        """The runs after which the requested pages started."""
        return [dict(request.query).get("after") for request in self.requests if request.query]


@pytest.fixture
def make_thread() -> Callable[..., FakeThread]:
    """Return a thread with these runs, newest first."""
    return FakeThread
