"""The mock server as a test uses it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from itertools import chain
from typing import Any, ParamSpec

from airflow_provider_portkey.testing.app import Api, RecordedRequest, build_app, reject_key, require_key
from airflow_provider_portkey.testing.control import control_routes
from airflow_provider_portkey.testing.errors import xml_error
from airflow_provider_portkey.testing.faults import STORAGE, Fault, Faults
from airflow_provider_portkey.testing.loopback import LOOPBACK, LoopbackServer
from airflow_provider_portkey.testing.resources.batches import Batch, Batches
from airflow_provider_portkey.testing.resources.file_batches import FileBatch, FileBatches
from airflow_provider_portkey.testing.resources.files import Files
from airflow_provider_portkey.testing.resources.fine_tuning import FineTuningJob, FineTuningJobs
from airflow_provider_portkey.testing.resources.log_exports import LogExport, LogExports
from airflow_provider_portkey.testing.resources.responses import Response, Responses
from airflow_provider_portkey.testing.resources.runs import Run, Runs
from airflow_provider_portkey.testing.resources.threads import Threads
from airflow_provider_portkey.testing.scenario import Job
from airflow_provider_portkey.testing.store import Store

P = ParamSpec("P")


def _typed(add: Callable[..., dict[str, Any]], job_class: Callable[P, Job]) -> Callable[P, dict[str, Any]]:
    """Give ``add`` the signature and the documentation of the job that it adds."""
    return functools.update_wrapper(functools.partial(add), job_class)


class PortkeyMockServer:
    """
    A local mock server for the provider behind Portkey: no key, no network, no token spent.

    It serves the Assistants API (threads, messages, runs, steps), responses, files and batches, fine-tuning jobs,
    file batches of vector stores, and Portkey's own log exports, on 127.0.0.1, inside a ``with`` block::

        with PortkeyMockServer() as mock_server:
            mock_server.add_run(
                thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 3)], steps=12
            )
            os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(mock_server.connection())

    A connection may name it directly, as if it were the gateway, or a gateway may be in between. Unlike a real
    provider it shows all steps of a run from the start, allows several active runs of a thread, and does not stream.

    Each kind of object is a resource: :attr:`runs`, :attr:`responses`, :attr:`files`, :attr:`batches`,
    :attr:`log_exports`, :attr:`fine_tuning_jobs`, :attr:`file_batches`. ``add_run``, ``add_response`` and so on are
    their ``add`` methods. :attr:`plan` declares the scenario of jobs that a client will create over HTTP.

    :param port: on 127.0.0.1; 0 for any free one.
    :param require_authorization: whether a request without ``Authorization`` gets a 401.
    :param run_seconds: the duration of a run that is created over HTTP, in seconds; 0 for one that is completed at
        once.
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
        self._store = store = Store(
            clock=clock,
            run_seconds=run_seconds,
            run_steps=run_steps,
            job_seconds=run_seconds if job_seconds is None else job_seconds,
        )
        self._faults = faults = Faults()
        authorize = require_key if require_authorization else None
        self._api = Api(prefix="/v1", store=store, faults=faults, authorize=authorize)
        self._storage = Api(prefix=STORAGE, store=store, faults=faults, authorize=reject_key, error_response=xml_error)

        threads = Threads(store)
        self.runs = Runs(store, threads)
        self.responses = Responses(store)
        self.files = Files(store)
        self.batches = Batches(store, self.files)
        self.log_exports = LogExports(store, origin=lambda: self.url.removesuffix("/v1"))
        self.fine_tuning_jobs = FineTuningJobs(store)
        self.file_batches = FileBatches(store)
        jobs = (self.runs, self.responses, self.batches, self.log_exports, self.fine_tuning_jobs, self.file_batches)

        self.plan = store.plan
        self.add_messages = threads.add_messages
        self.add_run = _typed(self.runs.add, Run)
        self.add_steps = self.runs.add_steps
        self.set_run_statuses = self.runs.set_statuses
        self.add_response = _typed(self.responses.add, Response)
        self.add_file = self.files.add
        self.add_batch = _typed(self.batches.add, Batch)
        self.add_logs = self.log_exports.add_logs
        self.add_log_export = _typed(self.log_exports.add, LogExport)
        self.add_fine_tuning_job = _typed(self.fine_tuning_jobs.add, FineTuningJob)
        self.add_file_batch = _typed(self.file_batches.add, FileBatch)

        control = control_routes(
            actions={
                **{resource.name: resource.add for resource in jobs},
                "files": self.files.add,
                "logs": self.log_exports.add_logs,
                "log_export_settings": self.log_exports.settings,
                "set_run_statuses": self.runs.set_statuses,
                "plans": store.plan,
                "faults": self.fault,
            },
            recorded={"requests": lambda: self.requests, "storage_requests": lambda: self.storage_requests},
        )
        api_routes = chain.from_iterable(resource.routes() for resource in (threads, self.files, *jobs))
        routes = chain(self._api.routes(api_routes), self._storage.routes(self.log_exports.storage_routes()), control)
        self._server = LoopbackServer(build_app(routes), port=port)

    def __enter__(self) -> PortkeyMockServer:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(*exc_info)
        self._store.close()

    @property
    def url(self) -> str:
        """The base URL, with its ``/v1``."""
        return f"http://{LOOPBACK}:{self._server.port}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests below ``/v1`` so far, in the order of arrival."""
        with self._store.lock:
            return list(self._api.requests)

    @property
    def storage_requests(self) -> list[RecordedRequest]:
        """All requests for a file by its signed URL so far, in the order of arrival."""
        with self._store.lock:
            return list(self._storage.requests)

    def add_runs(self, *, thread_id: str, count: int, **run: Any) -> list[dict[str, Any]]:
        """Start several equal runs; the parameters are those of ``add_run``."""
        return [self.runs.add(thread_id=thread_id, **run) for _ in range(count)]

    def connection(self) -> dict[str, Any]:
        """Return an Airflow connection to it; its JSON is a value of ``AIRFLOW_CONN_PORTKEY_DEFAULT``."""
        return {
            "conn_type": "portkey",
            "host": self.url,
            "password": "mock-key",
            "extra": {"provider": "openai", "provider_api_key": "mock-provider-key"},
        }

    def fault(self, **fields: Any) -> Fault:
        """
        Inject a fault; the parameters are those of :class:`.Fault`.

        Of several faults, the first one strikes first.

        :return: the fault, which counts in ``struck`` how often it struck.
        """
        fault = Fault(**fields)
        with self._store.lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._store.lock:
            self._faults.clear()
