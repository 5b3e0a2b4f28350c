"""The state of a task that outlives its process: the job that the task submitted, and its rescheduled wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: The key under which a task keeps the job that it submitted.
JOB_KEY = "portkey_job"
#: The key under which a rescheduled sensor keeps its wait.
WAIT_KEY = "portkey_wait"


class TaskState:
    """
    A small JSON object of one task instance, which outlives crashes, retries and reschedules.

    The object is kept in Airflow's task state store where there is one (3.3 and newer), and otherwise in a Variable
    named after the task instance, which is deleted by :meth:`clear`.

    :param context: The task's context; without a task instance in it nothing outlives the process.
    :param key: Distinguishes the objects of one task instance.
    """

    def __init__(self, context: Context, key: str = JOB_KEY) -> None:
        self._store = cast("Any", context.get("task_state_store"))
        self._ti = cast("Any", context.get("ti"))
        self._key = key
        self._known: dict[str, Any] | None = None

    @property
    def has_store(self) -> bool:
        """Whether Airflow has a task state store, so that no Variable is needed."""
        return self._store is not None

    @property
    def clear_count(self) -> int | None:
        """A number that a retry leaves as it is and that a user who clears the task changes."""
        return getattr(self._ti, "max_tries", None)

    @property
    def try_number(self) -> int | None:
        """A number that stays as it is while one try is rescheduled or deferred."""
        return getattr(self._ti, "try_number", None)

    def read(self) -> dict[str, Any]:
        """Return the object that was written last, or an empty one; Airflow is requested for it once."""
        if self._known is None:
            self._known = self._load()
        return dict(self._known)

    def _load(self) -> dict[str, Any]:
        if self._store is not None:
            return dict(self._store.get(self._key) or {})
        if self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            return dict(Variable.get(self._variable, {}, deserialize_json=True))
        return {}

    def write(self, known: dict[str, Any]) -> None:
        """Replace the object."""
        known = storable(known)
        if self._store is not None:
            self._store.set(self._key, known)
        elif self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.set(self._variable, known, serialize_json=True)
        self._known = dict(known)

    def clear(self) -> None:
        """Delete the Variable, which nothing else cleans up; the task state store ends with its task instance."""
        if self._store is not None:
            return
        self._known = None
        if self._ti is not None:
            from airflow.providers.common.compat.sdk import Variable

            Variable.delete(self._variable)

    @property
    def _variable(self) -> str:
        ti = self._ti
        return "__".join((self._key, ti.dag_id, ti.task_id, ti.run_id, str(ti.map_index)))
