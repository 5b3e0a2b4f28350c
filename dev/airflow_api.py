"""What the demo and the tests request from a running Airflow, over its public REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

#: Seconds for one request: many times what a busy API server takes.
_TIMEOUT = 120.0
#: The same where a request is repeated anyhow.
_PROBE_TIMEOUT = 10.0


class AirflowApi:
    """
    Airflow 3 as seen over REST.

    :param url: Of the API server, without a path.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        # Everything is on loopback: no proxy, no .netrc.
        self._session.trust_env = False

    def login(self, username: str, password: str) -> None:
        """Fetch a token, and send it from here on."""
        token = self._request("POST", "/auth/token", json={"username": username, "password": password})["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **params: Any) -> Any:
        """GET a path below ``/api/v2`` with a query, and return the JSON."""
        return self._request("GET", f"/api/v2{path}", params=params)

    def call(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """POST, PUT or PATCH JSON to a path below ``/api/v2``, and return the JSON."""
        return self._request(method, f"/api/v2{path}", json=body)

    def try_get(self, path: str) -> Any:
        """
        GET and return the JSON, or None where the server is not there yet or knows no such thing.

        :param path: Below ``/api/v2``, or of the server where it begins with ``/execution``.
        """
        prefix = "" if path.startswith("/execution") else "/api/v2"
        try:
            return self._request("GET", f"{prefix}{path}", timeout=_PROBE_TIMEOUT)
        except (requests.RequestException, ValueError):
            return None

    def _request(self, method: str, path: str, *, timeout: float = _TIMEOUT, **options: Any) -> Any:
        response = self._session.request(method, f"{self.url}{path}", timeout=timeout, **options)
        if not response.ok:
            message = f"{method} {path}: {response.status_code} {response.text[:500]}"
            raise requests.HTTPError(message, response=response)
        return response.json()

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def start_watchers(self, dag_id: str) -> None:
        """Let a DAG run, and have its file parsed once more: with that parse Airflow starts the DAG's watchers."""
        self.unpause(dag_id)
        self.call("PUT", f"/parseDagFile/{self.get(f'/dags/{dag_id}/details')['file_token']}", {})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a DAG run with values for the DAG's params, and return its id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a DAG run by task id; of mapped ones, the last."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {each["task_id"]: each for each in found}

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Do what a user does who marks a task as failed or as success."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, {"new_state": state})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task pushed to XCom."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.get(path, stringify=False)["value"]

    def try_xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned, or None where there is no such thing."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?stringify=false"
        found = self.try_get(path)
        return found and found["value"]

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """Return the links that the UI shows for a task, by their names."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        return dict(self.get(path, map_index=map_index)["extra_links"])

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Return the log of one try of a task as plain lines."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.get(path, full_content=True)["content"]
        if isinstance(content, str):
            return content
        return "\n".join(_line(each) for each in content)


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    rest = {name: value for name, value in event.items() if name not in ("timestamp", "event", "level", "logger")}
    parts = [event.get("timestamp") or "", (event.get("level") or "").upper(), event.get("event") or ""]
    parts += [f"{name}={value}" for name, value in rest.items()]
    return " ".join(str(part) for part in parts if part)
