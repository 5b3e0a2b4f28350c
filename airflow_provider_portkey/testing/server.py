"""The mock server as a test sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Literal

from airflow_provider_portkey.testing.answers import storage_refusal
from airflow_provider_portkey.testing.app import Gate, build_app, key_wanted, no_key_wanted
from airflow_provider_portkey.testing.calls import RecordedRequest
from airflow_provider_portkey.testing.control import control_routes
from airflow_provider_portkey.testing.course import Start
from airflow_provider_portkey.testing.faults import STORAGE, Fault, Faults
from airflow_provider_portkey.testing.loopback import LOOPBACK, LoopbackServer
from airflow_provider_portkey.testing.rooms.building import Building
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.script import Advance, Statuses
from airflow_provider_portkey.testing.shapes import message_object, run_object, step_object
from airflow_provider_portkey.testing.thread_routes import ThreadRoutes
from airflow_provider_portkey.testing.world import World


class PortkeyMockServer:
    """A local mock server for the provider behind Portkey: no key, no network, no token spent.

    It speaks the Assistants API (threads, messages, runs, steps), responses, files and batches, fine-tuning
    jobs, file batches of vector stores, and Portkey's own log exports, on 127.0.0.1, for as long as the
    ``with`` block lasts::

        with PortkeyMockServer() as mock_server:
            mock_server.add_run(
                thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 3)], steps=12
            )
            os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(mock_server.connection())

    A connection may name it directly, as if it were the gateway, or a gateway may stand in between. Unlike
    a real provider it shows all steps of a run from the start, lets a thread have several runs at once, and
    streams nothing.

    Each kind of job but runs has a room of its own, which says what its ``add`` takes: :attr:`responses`,
    :attr:`files`, :attr:`batches`, :attr:`log_exports`, :attr:`fine_tuning_jobs`, :attr:`file_batches`.
    ``add_response``, ``add_file``, ``add_batch``, ``add_logs``, ``add_log_export``, ``add_fine_tuning_job``
    and ``add_file_batch`` are short for them. :attr:`plan` says what jobs are to do that a caller will
    create over HTTP.

    :param port: on 127.0.0.1; 0 for any free one.
    :param require_authorization: whether a request without ``Authorization`` gets a 401.
    :param run_seconds: how long a run takes that is created over HTTP, in seconds; 0 for one that is
        completed at once.
    :param run_steps: how many steps such a run has.
    :param job_seconds: the same for jobs of all other kinds; ``run_seconds`` where not given.
    :param clock: tells the time, in seconds since the epoch; a test may give its own.
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
        self._clock = clock
        self._lock = threading.RLock()
        self._world = World()
        self._faults = Faults()
        self._gate = Gate(
            "/v1",
            clock=clock,
            lock=self._lock,
            faults=self._faults,
            admission=key_wanted if require_authorization else None,
        )
        self._storage_gate = Gate(
            STORAGE,
            clock=clock,
            lock=self._lock,
            faults=self._faults,
            admission=no_key_wanted,
            refuse=storage_refusal,
        )
        desk = Desk(clock=clock, lock=self._lock, job_seconds=run_seconds if job_seconds is None else job_seconds)
        rooms = Building(desk, origin=lambda: self.url.removesuffix("/v1"))
        self.plan = desk.plan
        self.responses, self.add_response = rooms.responses, rooms.responses.add
        self.files, self.add_file = rooms.files, rooms.files.add
        self.batches, self.add_batch = rooms.batches, rooms.batches.add
        self.log_exports, self.add_log_export = rooms.log_exports, rooms.log_exports.add
        self.add_logs = rooms.log_exports.add_logs
        self.fine_tuning_jobs, self.add_fine_tuning_job = rooms.fine_tuning_jobs, rooms.fine_tuning_jobs.add
        self.file_batches, self.add_file_batch = rooms.file_batches, rooms.file_batches.add
        threads = ThreadRoutes(
            self._world, run_seconds=run_seconds, run_steps=run_steps, planned=lambda: desk.planned("runs")
        )
        control = control_routes(
            actions={
                "faults": self.fault,
                "runs": self.add_run,
                "set_run_statuses": self.set_run_statuses,
                **rooms.actions(),
            },
            recorded={"requests": lambda: self.requests, "storage_requests": lambda: self.storage_requests},
        )
        routes = chain(
            self._gate.routes(chain(threads.table(), rooms.table())),
            self._storage_gate.routes(rooms.storage_table()),
            control,
        )
        self._server = LoopbackServer(build_app(routes), port=port)

    def __enter__(self) -> PortkeyMockServer:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(*exc_info)

    @property
    def url(self) -> str:
        """The base URL, with its ``/v1``."""
        return f"http://{LOOPBACK}:{self._server.port}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request below ``/v1`` so far, in the order of arrival."""
        with self._lock:
            return list(self._gate.requests)

    @property
    def storage_requests(self) -> list[RecordedRequest]:
        """Every request for a file by its signed URL so far, in the order of arrival."""
        with self._lock:
            return list(self._storage_gate.requests)

    def connection(self) -> dict[str, Any]:
        """Give an Airflow connection to it, as ``AIRFLOW_CONN_PORTKEY_DEFAULT`` takes it in JSON."""
        return {
            "conn_type": "portkey",
            "host": self.url,
            "password": "mock-key",
            "extra": {"provider": "openai", "provider_api_key": "mock-provider-key"},
        }

    def fault(self, **fields: Any) -> Fault:
        """Have something go wrong: the parameters are those of :class:`.Fault`.

        Of several faults, the one set first strikes first. The fault comes back, and counts in ``struck``
        how often it struck.
        """
        fault = Fault(**fields)
        with self._lock:
            return self._faults.add(fault)

    def add_run(
        self,
        *,
        thread_id: str,
        run_id: str | None = None,
        statuses: Statuses = "completed",
        steps: int | Iterable[Mapping[str, Any]] = 0,
        advance: Advance = "time",
        start: Start = "now",
        created_at: int | None = None,
        last_error: Mapping[str, Any] | None = None,
        incomplete_reason: str = "max_completion_tokens",
        tool_calls: Iterable[Mapping[str, Any]] | None = None,
        further_tool_calls: Iterable[Iterable[Mapping[str, Any]]] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Start a run, and make its thread where there is none yet.

        :param run_id: ``run_000001`` and so on where not given.
        :param statuses: what it goes through: one status, or several, each with its seconds after the
            start: ``[("queued", 0), ("completed", 4)]``. Words that the API does not know are fine.
        :param steps: how many, or what each is; see :meth:`add_steps`.
        :param advance: ``time`` moves by the clock; ``per_poll`` moves one status at each request for this
            run, the first of which sees the first status.
        :param start: whether its seconds count from now or from the first request for this run.
        :param created_at: in seconds since the epoch; now where not given. The run's other moments count
            from it.
        :param last_error: what a failed run reports.
        :param incomplete_reason: what an incomplete run reports.
        :param tool_calls: what a run that requires action waits for.
        :param further_tool_calls: what it waits for then, each time that outputs came, before it goes on with the
            rest of its statuses.
        :param fields: whatever is to appear in the run object instead of the generated values.
        :return: the run's object.
        :raises ValueError: for an id that the thread has already, and for a script that makes no sense.
        """
        with self._lock:
            now = self._clock()
            run = self._world.add_run(
                self._world.add_thread(thread_id=thread_id, now=now),
                now=now,
                run_id=run_id,
                statuses=statuses,
                steps=steps,
                advance=advance,
                start=start,
                created_at=created_at,
                last_error=last_error,
                incomplete_reason=incomplete_reason,
                tool_calls=tool_calls,
                further_tool_calls=further_tool_calls,
                fields=fields,
            )
            run.script.settle(now)
            return run_object(run)

    def add_runs(self, *, thread_id: str, count: int, **run: Any) -> list[dict[str, Any]]:
        """Start several runs that are alike; the parameters are those of :meth:`add_run`."""
        return [self.add_run(thread_id=thread_id, **run) for _ in range(count)]

    def set_run_statuses(self, *, thread_id: str, run_id: str, statuses: Statuses) -> dict[str, Any]:
        """Give a run another way to go from now on: for a test that knows only later when a run is to end.

        :param statuses: as of :meth:`add_run`, the seconds counted from now.
        :return: the run's object.
        :raises ValueError: for a script that makes no sense.
        """
        with self._lock:
            run = self._world.run(thread_id, run_id)
            run.script.replace(statuses, self._clock())
            return run_object(run)

    def add_steps(
        self, *, thread_id: str, run_id: str, steps: int | Iterable[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Put steps at the end of a run.

        :param steps: how many, of alternating types, each ``message_creation`` with a message in the thread;
            or for each step the fields of its object that are not to be generated, and ``text`` for the text
            of its message.
        :return: the objects of the new steps.
        """
        with self._lock:
            run = self._world.run(thread_id, run_id)
            return [step_object(step, run) for step in self._world.add_steps(run, steps)]

    def add_messages(
        self, *, thread_id: str, texts: Iterable[str], role: Literal["user", "assistant"] = "user"
    ) -> list[dict[str, Any]]:
        """Put messages at the end of a thread, and make the thread where there is none yet.

        :return: the objects of the new messages.
        """
        with self._lock:
            now = self._clock()
            thread = self._world.add_thread(thread_id=thread_id, now=now)
            return [
                message_object(self._world.add_message(thread, created_at=int(now), content=text, role=role))
                for text in texts
            ]
