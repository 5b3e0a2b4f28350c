from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

from airflow_provider_portkey.plugin import PortkeyPlugin


def test_airflow_finds_the_plugin():
    (found,) = entry_points(group="airflow.plugins", name="portkey")
    assert found.load() is PortkeyPlugin


def test_loading_the_plugin_imports_nothing_else():
    program = (
        "import sys; from airflow.plugins_manager import AirflowPlugin; before = set(sys.modules)\n"
        "import airflow_provider_portkey.plugin; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split()) - {"airflow_provider_portkey"}
    assert imported == {"airflow_provider_portkey.plugin"}


def test_the_tab_shows_the_route():
    (view,), (app,) = PortkeyPlugin.external_views, PortkeyPlugin.fastapi_apps
    assert view["destination"] == "task_instance"
    assert f"/{view['href']}".startswith(f"{app['url_prefix']}/reports/")
    assert callable(app["app"])
