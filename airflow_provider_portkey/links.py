"""The trace id of a task's requests, and the link to the trace in Portkey's dashboard."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

#: Default of ``[portkey] trace_url``. The page of the logs is documented by Portkey, its query parameter is not.
TRACE_URL = "https://app.portkey.ai/logs?trace_id={trace_id}"

#: The attributes that identify one try of a task.
_TRY_ATTRIBUTES = ("dag_id", "run_id", "task_id", "map_index", "try_number")


def trace_id(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
    """
    Return the trace id of one try of a task: 32 hexadecimal digits as in W3C trace context, the same at each call.

    :param map_index: -1 for a task that is not mapped.
    :param try_number: From 1.
    """
    identity = json.dumps([dag_id, run_id, task_id, map_index, try_number])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def trace_id_of(ti: Any) -> str | None:
    """Return the trace id of a task instance or of its key, ``None`` for any other object."""
    identity: list[Any] = [getattr(ti, name, None) for name in _TRY_ATTRIBUTES]
    return None if None in identity else trace_id(*identity)


class PortkeyTraceLink(BaseOperatorLink):
    """Links a try of a task to the trace of its requests in Portkey's dashboard."""

    name = "Portkey trace"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL by ``[portkey] trace_url``; an empty setting means no link."""
        template: str = conf.get("portkey", "trace_url", fallback=TRACE_URL)
        return template.replace("{trace_id}", trace_id_of(ti_key) or "")


TRACE_LINKS = (PortkeyTraceLink(),)
