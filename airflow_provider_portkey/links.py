"""Where people look: the trace of a task's requests in Portkey's dashboard."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

#: Where Portkey's service shows its logs; ``[portkey] trace_url`` replaces it. That the logs are there is documented,
#: the query is what others link to.
TRACE_URL = "https://app.portkey.ai/logs?trace_id={trace_id}"

#: What makes one try of one task.
_OF_A_TRY = ("dag_id", "run_id", "task_id", "map_index", "try_number")


def trace_id(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
    """Return the trace id of one try of one task: 32 hexadecimal digits as in W3C trace context, always the same."""
    about = json.dumps([dag_id, run_id, task_id, map_index, try_number])
    return hashlib.sha256(about.encode()).hexdigest()[:32]


def trace_id_of(ti: Any) -> str | None:
    """Return the trace id of a task instance or of its key, ``None`` for what is neither."""
    about: list[Any] = [getattr(ti, name, None) for name in _OF_A_TRY]
    return None if None in about else trace_id(*about)


class PortkeyTraceLink(BaseOperatorLink):
    """Leads from a try of a task to the trace of its requests in Portkey's dashboard."""

    name = "Portkey trace"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL, by ``[portkey] trace_url``; empty where that is empty."""
        template: str = conf.get("portkey", "trace_url", fallback=TRACE_URL)
        return template.replace("{trace_id}", trace_id_of(ti_key) or "")


TRACE_LINKS = (PortkeyTraceLink(),)
