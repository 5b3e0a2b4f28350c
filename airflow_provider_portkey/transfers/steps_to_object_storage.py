"""A run's steps to a file in object storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import Tally
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: The column that ``include_messages`` adds.
_MESSAGE_TEXT = "message_text"


class PortkeyRunStepsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the steps of a run to a file, one row each.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param include: Names of further fields to ask for (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote.
    :param kwargs: ``path`` and the other arguments of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "thread_id",
        "run_id",
        "include",
    )

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        order: str = "asc",
        include: Sequence[str] | None = None,
        include_messages: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.order = order
        self.include = include
        self.include_messages = include_messages

    def columns(self) -> Columns:
        """Return the columns of a table of steps."""
        from airflow_provider_portkey.jobs.run import STEP_COLUMNS

        return STEP_COLUMNS | ({_MESSAGE_TEXT: "text"} if self.include_messages else {})

    def open(self, hook: PortkeyHook, tally: Tally) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the run's ids, status and usage, and its steps."""
        from airflow_provider_portkey.jobs.run import RUN

        # Before its steps: a run that had ended by now adds no more of them.
        run = hook.get_run(self.thread_id, self.run_id)
        if run.get("status") not in {*RUN.ended_well, *RUN.ended_badly}:
            self.log.warning("Run %r is still %s: later steps will be missing.", self.run_id, run.get("status"))
        about = {
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "run_status": run.get("status"),
            "usage": run.get("usage"),
        }
        steps = hook.iter_run_steps(
            self.thread_id, self.run_id, order=self.order, include=self.include, on_page=tally.page
        )
        return about, self._with_texts(hook, steps) if self.include_messages else steps

    def _with_texts(self, hook: PortkeyHook, steps: Iterator[dict[str, Any]]) -> Iterator[Row]:
        from airflow_provider_portkey.transfers.message_texts import MessageTexts

        texts = MessageTexts(hook, self.thread_id, self.run_id, self.order)
        return ({**step, _MESSAGE_TEXT: texts.of(step)} for step in steps)
