"""What a task must still know when its process is gone: which job it submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_KEY = "portkey_job"


class TaskState:
    """
    Keep a small JSON object for one task instance, across crashes, retries and reschedules.

    It stands in Airflow's task state store where there is one (3.3 and newer), and otherwise in a Variable that
    bears the task instance's name and is deleted when the task succeeds.

    :param context: The task's context; without a task instance in it nothing outlives the process.
    """

    def __init__(self, context: Context) -> None:
        self._store = cast("Any", context.get("task_state_store"))
        self._ti = cast("Any", context.get("ti"))

    @property
    def clear_count(self) -> int | None:
        """A number that a retry leaves as it is and that a user who clears the task changes."""
        return getattr(self._ti, "max_tries", None)

    @property
    def try_number(self) -> int | None:
        """A number that stays as it is while one try is rescheduled or deferred."""
        return getattr(self._ti, "try_number", None)

    def read(self) -> dict[str, Any]:
        """Return what was written last, or an empty object."""
        if self._store is not None:
            return dict(self._store.get(_KEY) or {})
        if self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            return dict(Variable.get(self._variable, {}, deserialize_json=True))
        return {}

    def write(self, known: dict[str, Any]) -> None:
        """Keep an object in place of the one before."""
        if self._store is not None:
            self._store.set(_KEY, known)
        elif self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.set(self._variable, known, serialize_json=True)

    def clear(self) -> None:
        """Leave nothing behind in a place that nobody else cleans up."""
        if self._store is None and self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.delete(self._variable)

    @property
    def _variable(self) -> str:
        ti = self._ti
        return "__".join((_KEY, ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)))
