"""The trace id of a task's requests, and a task's links: to the trace in Portkey's dashboard, to the documentation."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

#: Default of ``[portkey] trace_url``. The page of the logs is documented by Portkey, its query parameter is not.
TRACE_URL = "https://app.portkey.ai/logs?trace_id={trace_id}"

_PACKAGE = __name__.rpartition(".")[0]
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


class PortkeyDocsLink(BaseOperatorLink):
    """Links a task to the page of its class, where the installed distribution names a documentation."""

    name = "Documentation"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL of the page, or that of the whole documentation for a class without a page."""
        url = documentation_url() or ""
        names = (cls.__name__ for cls in type(operator).__mro__ if cls.__module__.startswith(f"{_PACKAGE}."))
        name = next(names, operator.task_type)
        if not url or not name.startswith("Portkey"):
            return url
        if "/tree/" in url:
            return f"{url.replace('/tree/', '/blob/')}/classes/{name}.md"
        return f"{url}/classes/{name}.html"


def documentation_url() -> str | None:
    """Return the address of the documentation in the installed distribution's metadata, without a slash at its end."""
    from importlib import metadata

    try:
        lines = metadata.metadata("airflow-provider-portkey").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return None
    urls: dict[str, str] = dict(line.split(", ", 1) for line in lines)
    return urls.get("Documentation", "").rstrip("/") or None


def task_links() -> tuple[BaseOperatorLink, ...]:
    """Return the links of a task: to its trace, and to the documentation where there is one."""
    return (PortkeyTraceLink(), PortkeyDocsLink()) if documentation_url() else (PortkeyTraceLink(),)


TRACE_LINKS = task_links()
