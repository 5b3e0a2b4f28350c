"""Starting a run, answering what it asks its caller, and cancelling it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyRequestError,
    PortkeyRunFailedError,
    PortkeyToolCallFailedError,
)
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.tasks.submit import (
    IDEMPOTENCY_KEY,
    BasePortkeySubmitOperator,
    find_own,
    idempotency_key_of,
    refuse_idempotency_key,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.state.task import TaskState
    from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

#: What a run's metadata may hold: pairs, characters of a key, characters of a value (Portkey's schema).
_PAIRS, _KEY_LENGTH, _VALUE_LENGTH = 16, 64, 512


class PortkeyCreateRunOperator(BasePortkeySubmitOperator):
    """
    Start a run on a thread, or a thread and a run in one call; wait for it, and return it without its instructions
    and tools.

    A retry, a rescheduled look and a restart after a crash go on with the run that was started. That holds without a
    gap for a run on a thread, which is found again by a idempotency key in its metadata; a thread that is made in the same call
    cannot be looked for.

    :param assistant_id: Who runs (templated).
    :param thread_id: The thread to run on (templated).
    :param thread: In place of ``thread_id`` the body of a thread to make, ``{}`` for an empty one (templated).
    :param instructions: In place of the assistant's own (templated).
    :param additional_instructions: In addition to them; with ``thread_id`` only (templated).
    :param additional_messages: Put on the thread beforehand; with ``thread_id`` only (templated).
    :param model: In place of the assistant's own (templated).
    :param tools: In place of the assistant's own (templated).
    :param metadata: Kept with the run, up to 15 pairs of texts; the operator adds ``airflow_idempotency_key`` (templated).
    :param parameters: Further fields of the request, such as ``temperature`` or ``tool_choice`` (templated).
    :param tool_handlers: For each function that the run may call, what answers it on the worker: it is called with the
        arguments by their names, and what it returns is sent, a text as it is and anything else as JSON. It may be
        called twice for one call where a worker dies.
    :param on_requires_action: As in sensors; with ``tool_handlers`` the task answers in any case.
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors. ``timeout`` is for the
        whole wait of one try, however often the run calls its tools.
    """

    template_fields: Sequence[str] = (
        "portkey_conn_id",
        "assistant_id",
        "thread_id",
        "thread",
        "instructions",
        "additional_instructions",
        "additional_messages",
        "model",
        "tools",
        "metadata",
        "parameters",
    )
    #: Functions may hold what cannot be copied; Airflow copies a task now and then.
    shallow_copy_attrs: Sequence[str] = ("tool_handlers",)
    ui_color = "#e8e4f8"
    job = lazy_attribute("jobs.run", "RUN")

    def __init__(
        self,
        *,
        assistant_id: str,
        thread_id: str | None = None,
        thread: Mapping[str, Any] | None = None,
        instructions: str | None = None,
        additional_instructions: str | None = None,
        additional_messages: Sequence[Mapping[str, Any]] | None = None,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        tool_handlers: Mapping[str, Callable[..., Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.assistant_id = assistant_id
        self.thread_id = thread_id
        self.thread = thread
        self.instructions = instructions
        self.additional_instructions = additional_instructions
        self.additional_messages = additional_messages
        self.model = model
        self.tools = tools
        self.metadata = metadata
        self.parameters = parameters
        self.tool_handlers = tool_handlers
        self._check_form()
        if not isinstance(tool_handlers, Mapping | None) or not all(map(callable, (tool_handlers or {}).values())):
            raise PortkeyInvalidArgumentError("tool_handlers", tool_handlers, "functions by the names of the tools")
        if tool_handlers and not self.wait_for_completion:
            expected = "True beside tool_handlers, which answer while the task waits"
            raise PortkeyInvalidArgumentError("wait_for_completion", False, expected)

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """Start the run, with the idempotency key in its metadata."""
        body = self._body(idempotency_key)
        task_state.write({"asked_at": time.time(), **task_state.read()})
        if self.thread_id is None:
            return self.hook.create_thread_and_run(body)
        return self.hook.create_run(self.thread_id, body)

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the run that an earlier try may have started, by its metadata.

        :raises PortkeySubmissionUnknownError: where the thread was to be made in the same call, so that nobody knows it,
            and where its runs cannot be listed.
        """
        if (since := task_state.read().get("asked_at")) is None:
            return None  # that try never came so far
        if self.thread_id is None:
            return super().find_by_idempotency_key(task_state, idempotency_key)
        try:
            run = find_own(
                self.hook.iter_runs(self.thread_id), lambda run: idempotency_key_of(run) == idempotency_key, since=since
            )
        except (PortkeyPaginationError, PortkeyRequestError) as error:
            if getattr(error, "transient", False):
                raise
            self.log.warning("The runs of thread %r cannot be listed: %s", self.thread_id, error)
            return super().find_by_idempotency_key(task_state, idempotency_key)
        if run:
            self.log.info("An earlier try has started %s.", self.job.describe(self._ids_of(run)))
        else:
            self.log.info("An earlier try broke off while it started its run, and there is none; starting it now.")
        return run

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Return the run, answer it and go on waiting, or raise what the trigger's event says."""
        from airflow_provider_portkey.polling.events import ENDED_WELL, RETURNED, conclude

        if self.tool_handlers and isinstance(event, dict) and event.get("reason") in (ENDED_WELL, RETURNED):
            # What the event leaves out (see _new_trigger) a look brings.
            self._trace(context)
            with self._skipping():
                self._submitted = self._ids_of(conclude(self.job, event))
            self._poller = self._start(context)
            return self._look_or_defer(context)
        return super().execute_complete(context, event)

    def _look(self) -> PollOutcome:
        from airflow_provider_portkey.polling.events import RETURNED

        poller = self._poller
        if not self.tool_handlers:
            return super()._look()
        # The poller hands over what is to be answered as long as there is time, and says itself when that is up.
        poller.on_requires_action = "return" if time.time() < poller.deadline else "wait"
        outcome = super()._look()
        if outcome.event and outcome.event["reason"] == RETURNED:
            run = self._answer(outcome.event["job"])
            # What it may call next is for the next look, which comes after a pause.
            poller.on_requires_action = "wait"
            outcome = poller.on_response(run, time.time())
            outcome.log_to(self.log)
        poller.on_requires_action = "return"
        return outcome

    def _answer(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Have the calls answered and hand that in; return the run."""
        from airflow_provider_portkey.operators.tool_calls import answer_calls, function_calls
        from airflow_provider_portkey.operators.tool_outputs import hand_in

        try:
            outputs = answer_calls(function_calls(run), self.tool_handlers or {}, self.log)
        except PortkeyToolCallFailedError as failed:
            named = self.job.describe(self._job_ids)
            self.log.error("Cancelling %s: %s", named, failed)
            try:
                self.hook.cancel_job(self.job, self._job_ids)
            except PortkeyError as error:
                self.log.warning("Cancelling %s failed: %s", named, error)
            raise
        return hand_in(self.hook, self._job_ids, outputs, self.log)

    def _start(self, context: Context) -> Poller:
        """The wait begins once in each try, however many processes share it."""
        from airflow_provider_portkey.state.task import TaskState

        task_state, poller = TaskState(context), super()._start(context)
        known = task_state.read()
        if "waits_since" not in known:  # a new try forgets it
            known["waits_since"] = poller.started
            task_state.write(known)
        poller.started = known["waits_since"]
        poller.deadline = poller.started + self.timeout
        return poller

    def _ids_of(self, job: Mapping[str, Any]) -> dict[str, str]:
        # Where the thread was given, an answer need not name it.
        return super()._ids_of({"thread_id": self.thread_id, **job})

    def _new_trigger(self, **wait: Any) -> BasePortkeyTrigger:
        from airflow_provider_portkey.triggers.job import PortkeyRemoteJobTrigger
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        if self.tool_handlers:
            # Airflow logs the event of a trigger, and the arguments of a call have no place in a log.
            job = replace(self.job, excluded_fields={*self.job.excluded_fields, "required_action"})
            return PortkeyRemoteJobTrigger(job_spec=job.to_dict(), ids=self._job_ids, **wait)
        return PortkeyRunTrigger(**self._job_ids, **wait)

    def _check_form(self) -> None:
        """Of the two ways to name the thread exactly one is wanted, and what belongs to it."""
        if (self.thread_id is None) == (self.thread is None):
            given = {"thread_id": self.thread_id, "thread": self.thread}
            raise PortkeyInvalidArgumentError("thread_id, thread", given, "exactly one of the two")
        for name in ("additional_instructions", "additional_messages"):
            if self.thread is not None and getattr(self, name) is not None:
                expected = "None beside thread; what the thread begins with belongs into thread['messages']"
                raise PortkeyInvalidArgumentError(name, getattr(self, name), expected)

    def _body(self, idempotency_key: str) -> dict[str, Any]:
        """Return what is posted, of what templates have filled in by now."""
        self._check_form()
        if not self.assistant_id:
            raise PortkeyInvalidArgumentError("assistant_id", self.assistant_id, "the id of an assistant")
        for name, kind, expected in (
            ("thread", Mapping, "a dict, such as {'messages': [...]}"),
            ("additional_messages", list | tuple, "a list of messages"),
            ("tools", list | tuple, "a list of tools"),
            ("metadata", Mapping, "a dict of texts"),
            ("parameters", Mapping, "a dict"),
        ):
            if (value := getattr(self, name)) is not None and not isinstance(value, kind):
                raise PortkeyInvalidArgumentError(name, value, expected)
        own = {
            name: getattr(self, name)
            for name in self.template_fields
            if name not in ("portkey_conn_id", "thread_id", "parameters")
        }
        if twice := sorted({*own, "thread_id", "stream"} & dict(self.parameters or {}).keys()):
            raise PortkeyInvalidArgumentError("parameters", twice, "fields that are no arguments of the operator")
        own["metadata"] = {**_checked(self.metadata or {}), IDEMPOTENCY_KEY: idempotency_key}
        return {**(self.parameters or {}), **{name: value for name, value in own.items() if value is not None}}


class PortkeyCancelRunOperator(PortkeyRunSensor):
    """
    Ask for a run to be cancelled, and return it without its instructions and tools. A run that has ended already is
    left as it is, and is no failure.

    :param wait_for_completion: Wait until the run has ended, in whatever way, as the sensor waits.
    :param kwargs: ``thread_id``, ``run_id`` (both templated) and the other arguments of :class:`PortkeyRunSensor`.
    """

    def __init__(self, *, wait_for_completion: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.on_requires_action = "wait"  # for its end, which nobody's answer can change any more

    def execute(self, context: Context) -> Any:
        """
        Cancel the run unless it has ended or is about to.

        :raises PortkeyRequestError: where Portkey refuses it and the run goes on.
        """
        self._trace(context)
        with self._skipping():
            run = self.hook.get_job(self.job, self._job_ids)
            if self._goes_on(run):
                run = self._cancel()
        if self.wait_for_completion:
            return super().execute(context)
        return self.job.summary(run)

    def _cancel(self) -> dict[str, Any]:
        try:
            run = self.hook.cancel_job(self.job, self._job_ids)
        except PortkeyBadRequestError:
            run = self.hook.get_job(self.job, self._job_ids)
            if self._goes_on(run):
                raise
        self.log.info("%s is %s.", self.job.describe(self._job_ids), run.get("status"))
        return run

    def _goes_on(self, run: Mapping[str, Any]) -> bool:
        status = run.get("status")
        if gone := status == "cancelling" or status in self.job.terminal_statuses:
            self.log.info("%s is %s; there is nothing to cancel.", self.job.describe(self._job_ids), status)
        return not gone

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        try:
            return super()._conclude(context, event)
        except PortkeyRunFailedError as ended:
            return ended.job


class PortkeySubmitToolOutputsOperator(BaseOperator):
    """
    Hand in what the tools said for which a run waits, and return the run without its instructions and tools.

    A retry looks at the run first: outputs that an earlier try handed in are not sent again.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param tool_outputs: For every call that the run waits for its output: a list of ``{"tool_call_id", "output"}``, or
        the outputs by the ids of their calls, or either of them as JSON text (templated). An output that is no text
        is sent as JSON.
    :param portkey_conn_id: The Airflow connection (templated).
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "thread_id", "run_id", "tool_outputs")
    ui_color = "#e8e4f8"
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        tool_outputs: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str,
        portkey_conn_id: str = "portkey_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.tool_outputs = tool_outputs
        self.portkey_conn_id = portkey_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Compare the outputs with the calls that the run waits for, and send them.

        :raises PortkeyInvalidArgumentError: where they are not what the run waits for; nothing was sent then.
        :raises PortkeyRunFailedError: where the run has ended badly meanwhile.
        """
        from airflow_provider_portkey.hooks.portkey import PortkeyHook
        from airflow_provider_portkey.jobs.run import RUN
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.operators.tool_calls import awaited, read_outputs
        from airflow_provider_portkey.operators.tool_outputs import hand_in
        from airflow_provider_portkey.state.task import TaskState

        outputs = read_outputs(self.tool_outputs)
        given = sorted(output["tool_call_id"] for output in outputs)
        ids = {"thread_id": self.thread_id, "run_id": self.run_id}
        task_state = TaskState(context)
        sending = {"ids": ids, "calls": given, "clear_count": task_state.clear_count}
        hook = PortkeyHook(self.portkey_conn_id, trace_id=trace_id_of(context.get("ti")))
        run = hook.get_job(RUN, ids)
        wanted = sorted(awaited(run))
        if given == wanted:
            task_state.write(sending)
            run = hand_in(hook, ids, outputs, self.log)
        elif task_state.read() == sending and not set(given) & set(wanted):
            self.log.info("An earlier try has handed in these outputs; %s is %s.", RUN.describe(ids), run.get("status"))
        else:
            waits = f"waits for {', '.join(wanted)}" if wanted else f"is {run.get('status')} and waits for none"
            expected = f"the outputs of the calls that the run waits for; it {waits}"
            raise PortkeyInvalidArgumentError("tool_outputs", given, expected)
        task_state.clear()
        if run.get("status") in RUN.failure_statuses:
            reason = RUN.error_message(run) or "it gave no reason"
            message = f"{RUN.describe(ids)} ended as {run['status']}: {reason}"
            raise RUN.failure_exception(message[:1].upper() + message[1:], status=run["status"], job=RUN.summary(run))
        return RUN.summary(run)


def _checked(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    refuse_idempotency_key(metadata)
    if len(metadata) >= _PAIRS:
        raise PortkeyInvalidArgumentError("metadata", metadata, f"at most {_PAIRS - 1} pairs: the operator adds one")
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key) <= _KEY_LENGTH:
            raise PortkeyInvalidArgumentError(
                "metadata", key, f"keys that are texts of at most {_KEY_LENGTH} characters"
            )
        if not isinstance(value, str) or len(value) > _VALUE_LENGTH:
            expected = f"values that are texts of at most {_VALUE_LENGTH} characters"
            raise PortkeyInvalidArgumentError(f"metadata[{key!r}]", value, expected)
    return metadata
