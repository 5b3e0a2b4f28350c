"""State of a task instance that outlives its process: the job that the task submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_KEY = "portkey_job"


class TaskState:
    """
    Keeps a small JSON object for one task instance, across crashes, retries and reschedules.

    The object is in Airflow's task state store (3.3 and newer), otherwise in a Variable with the name of the task
    instance, which is deleted when the task succeeds.

    :param context: The context of the task; without a task instance nothing outlives the process.
    """

    def __init__(self, context: Context) -> None:
        self._store = cast("Any", context.get("task_state_store"))
        self._ti = cast("Any", context.get("ti"))

    @property
    def clear_count(self) -> int | None:
        """A number that changes when a user clears the task, and not with a retry."""
        return getattr(self._ti, "max_tries", None)

    @property
    def try_number(self) -> int | None:
        """The number of the try, which stays while the try is rescheduled or deferred."""
        return getattr(self._ti, "try_number", None)

    def read(self) -> dict[str, Any]:
        """Return the object that was written last, or an empty one."""
        if self._store is not None:
            return dict(self._store.get(_KEY) or {})
        if self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            return dict(Variable.get(self._variable, {}, deserialize_json=True))
        return {}

    def write(self, value: dict[str, Any]) -> None:
        """Write the object in place of the earlier one."""
        if self._store is not None:
            self._store.set(_KEY, value)
        elif self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.set(self._variable, value, serialize_json=True)

    def clear(self) -> None:
        """Delete the Variable; Airflow itself cleans up the task state store."""
        if self._store is None and self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.delete(self._variable)

    @property
    def _variable(self) -> str:
        ti = self._ti
        return "__".join((_KEY, ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)))
