"""The hook through Portkey's own gateway."""

from __future__ import annotations

import json

import pytest

from airflow_provider_portkey.exceptions import PortkeyAuthenticationError, PortkeyNotFoundError, PortkeyRedirectedError
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import RUN_STEPS, RUNS


@pytest.fixture(autouse=True)
def _connection(connection, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))


@pytest.fixture
def hook() -> PortkeyHook:
    return PortkeyHook()


@pytest.fixture(scope="module", autouse=True)
def _runs(provider):
    provider.add_run(thread_id="thread_long", run_id="run_long", steps=2_345)
    provider.add_runs(thread_id="thread_wide", count=145)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_step_in_order(hook, order):
    ids = [step["id"] for step in hook.iter_run_steps("thread_long", "run_long", order=order)]
    assert len(ids) == len(set(ids)) == 2_345
    assert ids == sorted(ids, reverse=order == "desc")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_run_in_order(hook, order):
    ids = [run["id"] for run in hook.iter_runs("thread_wide", order=order, page_size=20)]
    assert len(ids) == len(set(ids)) == 145
    assert ids == sorted(ids, reverse=order == "desc")


@pytest.fixture(scope="module")
def _long_lists(provider):
    provider.add_runs(thread_id="thread_10k", count=10_000)
    provider.add_run(thread_id="thread_200k", run_id="run_200k", steps=200_000)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.usefixtures("_long_lists")
def test_a_long_list_takes_one_request_for_a_hundred_items(hook, provider, order):
    lists = (
        (RUNS, {"thread_id": "thread_10k"}, 10_000),
        (RUN_STEPS, {"thread_id": "thread_200k", "run_id": "run_200k"}, 200_000),
    )

    def requests(thread_id: str) -> int:
        return sum(f"/threads/{thread_id}/" in one.path for one in provider.requests)

    for list_spec, ids, count in lists:
        before = requests(ids["thread_id"])
        found = [item["id"] for item in hook.list(list_spec, ids, order=order)]
        assert len(set(found)) == len(found) == count
        assert found == sorted(found, reverse=order == "desc")
        assert requests(ids["thread_id"]) - before == count // 100


def test_the_connection_test_succeeds(hook):
    assert hook.test_connection() == (True, f"Connected to {hook.settings.base_url}: it lists 1 model.")


def test_the_connection_test_reports_a_missing_provider(connection, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection | {"extra": {}}))
    works, finding = PortkeyHook().test_connection()
    assert not works
    assert "no such provider, or the connection names none" in finding


def test_an_error_of_the_provider_is_not_taken_for_one_of_portkey(hook, provider):
    provider.fault(status=401, body={"error": {"message": "Incorrect API key", "type": "invalid_request_error"}})
    with pytest.raises(PortkeyAuthenticationError, match="the provider behind Portkey refused") as raised:
        hook.get_run("thread_long", "run_long")
    assert raised.value.refused_by == "provider"


@pytest.mark.parametrize("form", [{"Retry-After": "0"}, {"retry-after-ms": "20"}])
def test_a_retry_follows_the_delay_of_the_response(hook, provider, form, monkeypatch, caplog):
    provider.fault(status=429, headers=form)
    assert hook.get_run("thread_long", "run_long")["status"] == "completed"
    assert "Attempt 1 of 5 failed, next attempt in 0.0 s" in caplog.text


def test_no_redirect_is_followed(hook, provider):
    provider.fault(status=302, headers={"Location": f"{provider.url}/stolen"}, times=None, path="*/run_redirect")
    with pytest.raises((PortkeyRedirectedError, PortkeyNotFoundError)):
        hook.get_run("thread_long", "run_redirect")


@pytest.mark.parametrize(
    "hostile", ["a/../../models", "..%2fmodels", "run_long?x=1", "run_long#x", "run\nlong", "%2e%2e"]
)
def test_a_hostile_id_stays_within_its_segment(hook, provider, hostile):
    earlier = len(provider.requests)
    with pytest.raises(PortkeyNotFoundError):
        hook.get_run("thread_long", hostile)
    # The triggerer may still watch the thread of another test.
    sent = [request.path for request in provider.requests[earlier:] if "/thread_events/" not in request.path]
    assert all(path.startswith("/v1/threads/thread_long/runs/") and path.count("/") == 5 for path in sent)
