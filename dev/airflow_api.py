"""What the demo and the tests ask a running Airflow, over its public REST API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

#: States in which a DAG run stays.
ENDED = frozenset({"success", "failed"})

_TIMEOUT = 30.0
_LOOK_EVERY = 0.5


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
        """
        Fetch a token, and send it from here on.

        :param username: Of the simple auth manager.
        :param password: Its password.
        """
        body = {"username": username, "password": password}
        answer = self._session.post(f"{self.url}/auth/token", json=body, timeout=_TIMEOUT)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **params: Any) -> Any:
        """
        GET and return the JSON.

        :param path: Below ``/api/v2``, or of the server where it begins with ``/execution``.
        :param params: The query.
        """
        prefix = "" if path.startswith("/execution") else "/api/v2"
        answer = self._session.get(f"{self.url}{prefix}{path}", params=params, timeout=_TIMEOUT)
        answer.raise_for_status()
        return answer.json()

    def call(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """
        POST or PATCH and return the JSON.

        :param method: The HTTP method.
        :param path: Below ``/api/v2``.
        :param body: Sent as JSON.
        """
        answer = self._session.request(method, f"{self.url}/api/v2{path}", json=body, timeout=_TIMEOUT)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:500]}", response=answer)
        return answer.json()

    def try_get(self, path: str) -> Any:
        """
        Return what :meth:`get` does, or None where the server is not there yet or knows no such thing.

        :param path: As of :meth:`get`.
        """
        try:
            return self.get(path)
        except (requests.RequestException, ValueError):
            return None

    def import_errors(self) -> dict[str, str]:
        """Return the tracebacks of the DAG files that could not be imported, by the file's name in its folder."""
        return {each["filename"]: each["stack_trace"] for each in self.get("/importErrors")["import_errors"]}

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """
        Start a DAG run.

        :param dag_id: Of the DAG; must have been parsed.
        :param conf: Takes the place of the DAG's params.
        :return: The id of the DAG run.
        """
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a DAG run."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a DAG run by task id; of mapped ones, the last."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {each["task_id"]: each for each in found}

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Do what a user does who marks a task as failed or as success."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, {"new_state": state})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task left in XCom."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.get(path, stringify=False)["value"]

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

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        seconds: float = 180.0,
        on_look: Callable[[str, dict[str, dict[str, Any]]], object] = lambda state, tasks: None,
    ) -> str:
        """
        Wait until a DAG run has ended.

        :param dag_id: The DAG.
        :param run_id: The DAG run.
        :param seconds: How long at most.
        :param on_look: Called at each look with the run's state and its task instances; may raise.
        :return: The last state.
        :raises TimeoutError: It has not ended in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.run_state(dag_id, run_id)
            tasks = self.task_instances(dag_id, run_id)
            on_look(state, tasks)
            if state in ENDED:
                return state
            if time.monotonic() >= deadline:
                states = {name: task["state"] for name, task in tasks.items()}
                raise TimeoutError(f"DAG run {run_id} is {state} after {seconds:.0f} s: {states}")
            time.sleep(_LOOK_EVERY)


def _line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    rest = {name: value for name, value in event.items() if name not in ("timestamp", "event", "level", "logger")}
    parts = [event.get("timestamp") or "", (event.get("level") or "").upper(), event.get("event") or ""]
    parts += [f"{name}={value}" for name, value in rest.items()]
    return " ".join(str(part) for part in parts if part)
