"""The mock server as a test uses it, and the endpoints by which another process controls it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, ParamSpec

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_portkey.testing.app import Api, RecordedRequest, parse_body
from airflow_provider_portkey.testing.faults import STORAGE, ApiError, Fault, error_response
from airflow_provider_portkey.testing.loopback import LOOPBACK, serve
from airflow_provider_portkey.testing.resources.analytics import Analytics
from airflow_provider_portkey.testing.resources.batches import Batch
from airflow_provider_portkey.testing.resources.file_batches import FileBatch
from airflow_provider_portkey.testing.resources.files import Files
from airflow_provider_portkey.testing.resources.fine_tuning import FineTuningJob
from airflow_provider_portkey.testing.resources.jobs import Job, Jobs
from airflow_provider_portkey.testing.resources.log_exports import LogExport, LogExports, Logs
from airflow_provider_portkey.testing.resources.responses import ModelResponse
from airflow_provider_portkey.testing.resources.runs import Run, Steps
from airflow_provider_portkey.testing.resources.threads import Threads
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Statuses

P = ParamSpec("P")


def _adder(jobs: Jobs[Any], job_class: Callable[P, Job]) -> Callable[P, dict[str, Any]]:
    """Return the function that adds a job, with the signature and the documentation of the job's class."""
    return functools.update_wrapper(functools.partial(jobs.add), job_class)


class PortkeyMockServer:
    """
    A local mock server for the provider behind Portkey: no key, no network, no token spent.

    It serves the Assistants API (threads, messages, runs, steps), responses, files and batches, fine-tuning jobs,
    file batches of vector stores, and Portkey's own log exports and analytics, on 127.0.0.1, inside a ``with`` block.
    A connection names it directly, as if it were the gateway, or a gateway is in between. Unlike a real provider it
    shows all steps of a run from the start, allows several active runs of a thread, and does not stream.

    :param port: on 127.0.0.1; 0 for any free one.
    :param require_authorization: whether a request without ``Authorization`` gets a 401.
    :param run_seconds: the duration of a run that is created over HTTP; 0 for one that is completed at once.
    :param run_steps: the number of steps of such a run.
    :param job_seconds: the duration of jobs of all other kinds; ``run_seconds`` where not given.
    :param clock: returns the time, in seconds since the epoch; see :class:`.Clock`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        require_authorization: bool = True,
        run_seconds: float = 2.0,
        run_steps: int = 2,
        job_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        job_seconds = run_seconds if job_seconds is None else job_seconds
        self._store = store = Store(clock=clock, run_seconds=run_seconds, run_steps=run_steps)
        self._api = Api(store=store, require_authorization=require_authorization)
        store.threads, store.logs = Threads(store), Logs(store)
        self.files = store.files = Files(store)
        self.runs = Jobs(store, Run, seconds=run_seconds)
        self.responses = Jobs(store, ModelResponse, seconds=job_seconds)
        self.batches = Jobs(store, Batch, seconds=job_seconds)
        self.log_exports = LogExports(store, LogExport, seconds=job_seconds)
        self.fine_tuning_jobs = Jobs(store, FineTuningJob, seconds=job_seconds)
        self.file_batches = Jobs(store, FileBatch, seconds=job_seconds)
        self.analytics = Analytics(store)
        jobs: list[Jobs[Any]] = [self.runs, self.responses, self.batches, self.log_exports]
        jobs += [self.fine_tuning_jobs, self.file_batches]

        self.plan = store.plan
        self.add_messages = store.threads.add_messages
        self.add_run = _adder(self.runs, Run)
        self.add_response = _adder(self.responses, ModelResponse)
        self.add_file = self.files.add
        self.add_batch = _adder(self.batches, Batch)
        self.add_logs = store.logs.add
        self.add_analytics_requests = self.analytics.add
        self.add_log_export = _adder(self.log_exports, LogExport)
        self.add_fine_tuning_job = _adder(self.fine_tuning_jobs, FineTuningJob)
        self.add_file_batch = _adder(self.file_batches, FileBatch)

        actions: dict[str, Callable[..., Any]] = {resource.name: resource.add for resource in jobs}
        actions |= {"files": self.add_file, "logs": self.add_logs, "analytics_requests": self.analytics.add}
        actions |= {"log_export_settings": self.log_exports.settings}
        actions |= {"set_run_statuses": self.set_run_statuses, "plans": self.plan, "faults": self.fault}
        routes = chain(
            store.threads.routes(), self.files.routes(), self.analytics.routes(), *(kind.routes() for kind in jobs)
        )
        self._serving = serve(self._api.app(routes, self._control_routes(actions)), port=port)
        self._port = 0

    def __enter__(self) -> PortkeyMockServer:
        self._port = self._serving.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._serving.__exit__(None, None, None)
        self._store.close()

    @property
    def url(self) -> str:
        """The base URL, with its ``/v1``."""
        return f"http://{LOOPBACK}:{self._port}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests below ``/v1`` so far, in the order of arrival."""
        return self._recorded("/v1/")

    @property
    def storage_requests(self) -> list[RecordedRequest]:
        """All requests for a file by its signed URL so far, in the order of arrival."""
        return self._recorded(STORAGE)

    def add_runs(self, *, thread_id: str, count: int, **run: Any) -> list[dict[str, Any]]:
        """Start several equal runs; the parameters are those of ``add_run``."""
        return [self.runs.add(thread_id=thread_id, **run) for _ in range(count)]

    def add_steps(self, *, thread_id: str, run_id: str, steps: Steps) -> list[dict[str, Any]]:
        """
        Append steps to a run.

        :param steps: their number, of alternating types, each ``message_creation`` with a message in the thread;
            or for each step the fields of its object that are not to be generated, and ``text`` for the content of
            its message.
        :return: the objects of the new steps.
        """
        with self._store.lock:
            return self.runs.find(thread_id=thread_id, run_id=run_id).add_steps(steps)

    def set_run_statuses(self, *, thread_id: str, run_id: str, statuses: Statuses) -> dict[str, Any]:
        """Replace the statuses of a run, whose seconds count from now, and return the run's object."""
        with self._store.lock:
            run = self.runs.find(thread_id=thread_id, run_id=run_id)
            run.timeline.replace(statuses, self._store.clock())
            return run.serialize()

    def connection(self) -> dict[str, Any]:
        """Return an Airflow connection to it; its JSON is a value of ``AIRFLOW_CONN_PORTKEY_DEFAULT``."""
        extra = {"provider": "openai", "provider_api_key": "mock-provider-key"}
        return {"conn_type": "portkey", "host": self.url, "password": "mock-key", "extra": extra}

    def fault(self, **fields: Any) -> Fault:
        """Inject a fault, with the parameters of :class:`.Fault`, behind those that are there, and return it."""
        fault = Fault(**fields)
        with self._store.lock:
            self._api.faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._store.lock:
            self._api.faults.clear()

    def _recorded(self, prefix: str) -> list[RecordedRequest]:
        with self._store.lock:
            return [request for request in self._api.requests if request.path.startswith(prefix)]

    def _control_routes(self, actions: dict[str, Callable[..., Any]]) -> Iterator[Route]:
        """Return the control endpoints; an action gets the fields of the JSON object that is posted to its name."""

        async def act(request: Request) -> Response:
            try:
                result = actions[request.url.path.rpartition("/")[2]](**parse_body(await request.body()))
            except (ApiError, TypeError, ValueError) as error:
                return error_response(request, error)
            return JSONResponse(result if isinstance(result, dict) else {})

        async def show(request: Request) -> Response:
            recorded = self.storage_requests if request.url.path.endswith("storage_requests") else self.requests
            found = [dataclasses.asdict(one) for one in recorded]
            return JSONResponse([{**one, "body": one["body"].decode("utf-8", "replace")} for one in found])

        yield from (Route(f"/_mock_server/{name}", act, methods=["POST"]) for name in actions)
        yield from (Route(f"/_mock_server/{name}", show) for name in ("requests", "storage_requests"))
