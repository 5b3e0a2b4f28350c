"""
The plugin that shows reports as a tab of the task instance, on Airflow 3.1 and newer.

Every process of Airflow imports this module, so it imports nothing that is not there already; the rest is imported at
the first request for a report. Older versions of Airflow pass over what they do not know.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

_PREFIX = "/portkey"


class _LazyApp:
    """An ASGI application that is imported at its first request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from airflow_provider_portkey.report.server import app

        await app()(scope, receive, send)


class PortkeyPlugin(AirflowPlugin):
    """Adds the tab, and the route that the tab shows."""

    name = "portkey"
    fastapi_apps = [{"app": _LazyApp(), "url_prefix": _PREFIX, "name": "Portkey reports"}]  # noqa: RUF012 (as in the base class)
    external_views = [  # noqa: RUF012
        {
            "name": "Portkey report",
            # Relative, because Airflow may be served below a path.
            "href": _PREFIX.removeprefix("/") + "/reports/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
            "destination": "task_instance",
            "url_route": "portkey-report",
        }
    ]
