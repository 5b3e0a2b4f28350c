"""Starting a run, submitting the tool outputs that the run requires, and cancelling the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyToolCallFailedError,
)
from airflow_provider_portkey.tasks.base import PortkeyTaskMixin
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator, build_body
from airflow_provider_portkey.tasks.wait import BasePortkeyFieldsOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.state.task import TaskState
    from airflow_provider_portkey.triggers.job import BasePortkeyTrigger


class PortkeyCreateRunOperator(BasePortkeySubmitOperator):
    """
    Start a run, wait for it, and return it without its instructions and tools.

    The run is started on a thread, or together with a new thread in one request.

    A retry, a rescheduled poll and a restart after a crash continue with the run that was started. That holds without
    a gap for a run on a thread, which is found again by the idempotency key in its metadata; a thread that is created
    in the same request cannot be searched.

    :param assistant_id: The assistant (templated).
    :param thread_id: The thread to run on (templated).
    :param thread: In place of ``thread_id`` the body of a thread to create, ``{}`` for an empty one (templated).
    :param instructions: In place of the assistant's own; also the path of a ``.md`` or ``.txt`` file below the DAG's
        folder (templated).
    :param additional_instructions: In addition to the assistant's own; with ``thread_id`` only (templated).
    :param additional_messages: Added to the thread before the run; with ``thread_id`` only (templated).
    :param model: In place of the assistant's own (templated).
    :param tools: In place of the assistant's own (templated).
    :param metadata: Stored with the run, up to 15 pairs of strings; the operator adds ``airflow_idempotency_key``
        (templated).
    :param extra_body: Further fields of the request, such as ``temperature`` or ``tool_choice`` (templated).
    :param tool_handlers: The handler of each function that the run may call, by the function's name. The handler runs
        on the worker with the call's arguments by their names; a string result is sent as it is, anything else as
        JSON. A handler may run twice for one call where a worker dies.
    :param on_requires_action: As of ``PortkeyRunSensor``; with ``tool_handlers`` the task always submits outputs
        (templated).
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors. ``timeout`` bounds the
        whole wait of one try, however often the run calls its tools.
    """

    template_fields: Sequence[str] = (
        *BasePortkeySubmitOperator.template_fields,
        "assistant_id",
        "thread_id",
        "thread",
        "instructions",
        "additional_instructions",
        "additional_messages",
        "model",
        "tools",
        "metadata",
        "extra_body",
        "on_requires_action",
    )
    template_ext: Sequence[str] = (".json", ".md", ".txt")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "thread": "json",
        "instructions": "md",
        "additional_instructions": "md",
        "additional_messages": "json",
        "tools": "json",
        "metadata": "json",
        "extra_body": "json",
    }
    #: Functions may hold what cannot be copied; Airflow copies a task now and then.
    shallow_copy_attrs: Sequence[str] = ("tool_handlers",)
    job = lazy_attribute("jobs.run", "RUN")

    def __init__(
        self,
        *,
        assistant_id: str,
        thread_id: str | None = None,
        thread: Mapping[str, Any] | str | None = None,
        instructions: str | None = None,
        additional_instructions: str | None = None,
        additional_messages: Sequence[Mapping[str, Any]] | str | None = None,
        model: str | None = None,
        tools: Sequence[Mapping[str, Any]] | str | None = None,
        metadata: Mapping[str, str] | str | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        tool_handlers: Mapping[str, Callable[..., Any]] | None = None,
        on_requires_action: str = "fail",
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
        self.extra_body = extra_body
        self.tool_handlers = tool_handlers
        self.on_requires_action = on_requires_action
        self._validate()
        self._check_thread()
        if not isinstance(tool_handlers, Mapping | None) or not all(map(callable, (tool_handlers or {}).values())):
            raise PortkeyInvalidArgumentError("tool_handlers", tool_handlers, "functions by the names of the tools")
        if tool_handlers and not self.wait_for_completion:
            expected = "True beside tool_handlers, which run while the task waits"
            raise PortkeyInvalidArgumentError("wait_for_completion", False, expected)

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """Start the run, with the idempotency key in its metadata."""
        body = self._body(idempotency_key)
        task_state.write({"requested_at": time.time(), **task_state.read(), "thread_id": self.thread_id})
        self._refuse_after_kill()
        if self.thread_id is None:
            return self.hook.create_thread_and_run(body)
        return self.hook.create_run(self.thread_id, body)

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the run that an earlier try may have started, by its metadata.

        :raises PortkeySubmissionUnknownError: where the thread was to be created in the same request, so that its id
            is unknown, and where its runs cannot be listed.
        """
        from airflow_provider_portkey.tasks.idempotency import idempotency_key_of

        known = task_state.read()
        if (since := known.get("requested_at")) is None:
            return None  # that try sent no request
        if (thread_id := known["thread_id"]) is None:
            return super().find_by_idempotency_key(task_state, idempotency_key)

        def is_own(run: Mapping[str, Any]) -> bool:
            return idempotency_key_of(run) == idempotency_key

        run = self._search(lambda: self.hook.iter_runs(thread_id), is_own, since=since)
        return run and {"thread_id": thread_id, **run}

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Return the run, submit tool outputs and continue to wait, or raise the error of the trigger's event."""
        from airflow_provider_portkey.polling.events import FAILED, RETURNED, SUCCEEDED, conclude

        returned = {SUCCEEDED, RETURNED, *((FAILED,) if self.on_failed == "return" else ())}
        if self.tool_handlers and isinstance(event, dict) and event.get("reason") in returned:
            # A poll returns what the event leaves out (see _new_trigger).
            with self._skipping():
                self._begin(context)
                self._submitted = self._ids_of(conclude(self.job, event, on_failed=self.on_failed))
                self._poller = self._start(context)
            return self._poll_or_defer(context)
        return super().execute_complete(context, event)

    def _poll(self) -> PollOutcome:
        from airflow_provider_portkey.polling.events import RETURNED

        if not self.tool_handlers:
            return super()._poll()
        # The poller returns the run for its tool calls as long as there is time, and times out by itself.
        self._set_policy("return" if time.time() < self._poller.state.deadline else "wait")
        outcome = super()._poll()
        if outcome.event and outcome.event["reason"] == RETURNED:
            run = self._submit_outputs(outcome.event["job"])
            # Further calls are for the next poll, which comes after a pause.
            self._set_policy("wait")
            outcome = self._poller.on_response(run, time.time())
            outcome.log_to(self.log)
        self._set_policy("return")
        return outcome

    def _set_policy(self, on_requires_action: str) -> None:
        self._poller.state = replace(self._poller.state, on_requires_action=on_requires_action)

    def _submit_outputs(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Call the handlers, submit their results, and return the run."""
        from airflow_provider_portkey.operators.tool_calls import call_handlers, function_calls, submit_outputs

        try:
            outputs = call_handlers(function_calls(run), self.tool_handlers or {}, self.log)
        except PortkeyToolCallFailedError as failed:
            described = self.job.describe(self._job_ids)
            self.log.error("Cancelling %s: %s", described, failed)
            try:
                self.hook.cancel_job(self.job, self._job_ids)
            except PortkeyError as error:
                self.log.warning("Cancelling %s failed: %s", described, error)
            raise
        return submit_outputs(self.hook, self._job_ids, outputs, self.log)

    def _start(self, context: Context) -> Poller:
        """Return a poller whose wait began once in this try, however many processes share the try."""
        from airflow_provider_portkey.state.task import TaskState

        task_state, poller = TaskState(context), super()._start(context)
        known = task_state.read()
        if "waits_since" not in known:  # a new try forgets it
            known["waits_since"] = poller.state.started_at
            task_state.write(known)
        started_at = known["waits_since"]
        poller.state = replace(poller.state, started_at=started_at, deadline=started_at + self.timeout)
        return poller

    def _ids_of(self, job: Mapping[str, Any]) -> dict[str, str]:
        # Where the thread was given, a response need not name it.
        return super()._ids_of({"thread_id": self.thread_id, **job})

    def _new_trigger(self, **arguments: Any) -> BasePortkeyTrigger:
        from airflow_provider_portkey.triggers.job import PortkeyRemoteJobTrigger
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        if self.tool_handlers:
            # Airflow logs the event of a trigger, and the arguments of a call have no place in a log.
            job = replace(self.job, excluded_fields={*self.job.excluded_fields, "required_action"})
            arguments["wait_state"] = {**arguments["wait_state"], "include_fields": []}
            return PortkeyRemoteJobTrigger(job_spec=job.to_dict(), ids=self._job_ids, **arguments)
        return PortkeyRunTrigger(**self._job_ids, **arguments)

    def _check_thread(self) -> None:
        """Exactly one of the two ways to name the thread is allowed, and only the arguments that belong to it."""
        if (self.thread_id is None) == (self.thread is None):
            given = {"thread_id": self.thread_id, "thread": self.thread}
            raise PortkeyInvalidArgumentError("thread_id, thread", given, "exactly one of the two")
        for name in ("additional_instructions", "additional_messages"):
            if self.thread is not None and getattr(self, name) is not None:
                expected = "None beside thread; the thread's first messages belong into thread['messages']"
                raise PortkeyInvalidArgumentError(name, getattr(self, name), expected)

    def _body(self, idempotency_key: str) -> dict[str, Any]:
        """Return the body of the request, from rendered arguments."""
        from airflow_provider_portkey.operators.run_metadata import with_idempotency_key
        from airflow_provider_portkey.validation import json_array, json_object

        self._check_thread()
        if not self.assistant_id:
            raise PortkeyInvalidArgumentError("assistant_id", self.assistant_id, "the id of an assistant")
        own = {
            "assistant_id": self.assistant_id,
            "thread": json_object("thread", self.thread),
            "instructions": self.instructions,
            "additional_instructions": self.additional_instructions,
            "additional_messages": json_array("additional_messages", self.additional_messages),
            "model": self.model,
            "tools": json_array("tools", self.tools),
            "metadata": with_idempotency_key(json_object("metadata", self.metadata) or {}, idempotency_key),
        }
        return build_body(own, self.extra_body, reserved=("thread_id", "stream"))


class PortkeyCancelRunOperator(BasePortkeyFieldsOperator):
    """
    Cancel a run, and return it without its instructions and tools.

    A run that has finished already is left as it is, and is no failure.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param wait_for_completion: Wait until the run has finished, with whatever status, as the sensor waits.
    :param kwargs: The arguments of :class:`BasePortkeyFieldsOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (*BasePortkeyFieldsOperator.template_fields, "thread_id", "run_id")
    job = lazy_attribute("jobs.run", "RUN")
    #: A run that is being cancelled cannot be helped by tool outputs any more.
    on_requires_action = "wait"
    #: A run that was cancelled has failed, and is what the task is for.
    on_failed = "return"

    def __init__(self, *, thread_id: str, run_id: str, wait_for_completion: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.wait_for_completion = wait_for_completion

    def execute(self, context: Context) -> Any:
        """
        Cancel the run unless it has finished or is being cancelled.

        :raises PortkeyRequestError: where Portkey refuses and the run is active.
        """
        with self._skipping():
            self._begin(context)
            run = self.hook.get_job(self.job, self._job_ids)
            if self._is_active(run):
                run = self._cancel()
        if self.wait_for_completion:
            self._first_response = run
            return super().execute(context)
        with self._skipping():
            return self._returned(run)

    def _cancel(self) -> dict[str, Any]:
        try:
            run = self.hook.cancel_job(self.job, self._job_ids)
        except PortkeyBadRequestError:
            run = self.hook.get_job(self.job, self._job_ids)
            if self._is_active(run):
                raise
        self.log.info("%s is %s.", self.job.describe(self._job_ids), run.get("status"))
        return run

    def _is_active(self, run: Mapping[str, Any]) -> bool:
        status = run.get("status")
        if inactive := status == "cancelling" or status in self.job.terminal_statuses:
            self.log.info("%s is %s; there is nothing to cancel.", self.job.describe(self._job_ids), status)
        return not inactive

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        run = super()._conclude(context, event)
        run.pop("error_message", None)  # that the run was cancelled is no error here
        return run

    def _new_trigger(self, **arguments: Any) -> BasePortkeyTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        return PortkeyRunTrigger(**self._job_ids, **arguments)


class PortkeySubmitToolOutputsOperator(PortkeyTaskMixin, BaseOperator):
    """
    Submit the tool outputs that a run requires, and return the run without its instructions and tools.

    A retry requests the run first: outputs that an earlier try submitted are not sent again.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param tool_outputs: For every call whose output the run requires: a list of ``{"tool_call_id", "output"}``, or
        the outputs by the ids of their calls, or either of them as a JSON string (templated). An output that is no
        string is sent as JSON.
    :param portkey_conn_id: The Airflow connection (templated).
    """

    template_fields: Sequence[str] = (*PortkeyTaskMixin.template_fields, "thread_id", "run_id", "tool_outputs")
    template_fields_renderers: ClassVar[dict[str, str]] = {"tool_outputs": "json"}

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
        Compare the outputs with the calls that the run requires, and send them.

        :raises PortkeyInvalidArgumentError: where the outputs are not those that the run requires; nothing was sent.
        :raises PortkeyRunFailedError: where the run has failed meanwhile, or has expired before the outputs came.
        """
        from airflow_provider_portkey.jobs.run import RUN
        from airflow_provider_portkey.operators.tool_calls import read_outputs, required_calls, submit_outputs
        from airflow_provider_portkey.state.task import TaskState

        self._begin(context)
        outputs = read_outputs(self.tool_outputs)
        given = sorted(output["tool_call_id"] for output in outputs)
        ids = {"thread_id": self.thread_id, "run_id": self.run_id}
        task_state = TaskState(context)
        sending = {"ids": ids, "calls": given, "clear_count": task_state.clear_count}
        run = self.hook.get_job(RUN, ids)
        required = sorted(required_calls(run))
        if given == required:
            task_state.write(sending)
            run = submit_outputs(self.hook, ids, outputs, self.log)
        elif task_state.read() == sending and not set(given) & set(required):
            self.log.info("An earlier try submitted these outputs; %s is %s.", RUN.describe(ids), run.get("status"))
        elif run.get("status") not in RUN.failure_statuses:
            requires = f"requires {', '.join(required)}" if required else f"is {run.get('status')} and requires none"
            expected = f"the outputs of the calls that the run requires; the run {requires}"
            raise PortkeyInvalidArgumentError("tool_outputs", given, expected)
        task_state.clear()
        if run.get("status") in RUN.failure_statuses:
            reason = RUN.error_message(run) or "the run gave no reason"
            message = f"{RUN.describe(ids)} finished as {run['status']}: {reason}"
            raise RUN.failure(message[:1].upper() + message[1:], status=run["status"], job=RUN.summary(run))
        return RUN.summary(run)
