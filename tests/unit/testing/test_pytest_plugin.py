from __future__ import annotations

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer

pytest_plugins = ["pytester", "airflow_provider_portkey.testing.pytest_plugin"]


def test_the_mock_server_serves(portkey_mock_server: PortkeyMockServer) -> None:
    portkey_mock_server.add_run(thread_id="t", run_id="r")
    url = f"{portkey_mock_server.url}/threads/t/runs/r"
    assert requests.get(url, headers={"Authorization": "x"}, timeout=5).json()["status"] == "completed"


def test_every_test_has_its_own_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytest_plugins = ["airflow_provider_portkey.testing.pytest_plugin"]

        @pytest.mark.parametrize("turn", [1, 2])
        def test_one(portkey_mock_server, portkey_task_context, turn):
            assert portkey_task_context["task_state_store"].values == {}
            portkey_task_context["task_state_store"].set("key", turn)
            assert portkey_mock_server.add_run(thread_id="t", run_id="r")["id"] == "r"
            assert portkey_mock_server.requests == []
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(passed=2)
