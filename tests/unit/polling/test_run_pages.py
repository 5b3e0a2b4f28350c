from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyBadRequestError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.polling.drivers import drive
from airflow_provider_portkey.polling.run_pages import RunPagePlanner

TERMINAL = {"completed", "failed"}


def runs(count: int) -> list[dict[str, Any]]:
    return [{"id": f"run_{number}", "status": "in_progress", "created_at": 100_000 - number} for number in range(count)]


def add_newer(thread: Any, count: int) -> None:
    thread.runs = [{"id": f"newer_{len(thread.runs)}_{number}"} for number in range(count)] + thread.runs


def ids(*numbers: int) -> list[str]:
    return [f"run_{number}" for number in numbers]


def test_one_run_is_no_page_worth(make_thread):
    thread, planner = make_thread(runs(10)), RunPagePlanner("thread_1")
    assert thread.drive(planner.find(ids(3))) == {}
    assert thread.page_starts == []


def test_two_hundred_runs_cost_two_pages_at_every_poll(make_thread):
    thread, planner = make_thread(runs(500)), RunPagePlanner("thread_1")
    for _ in range(3):
        assert thread.drive(planner.find(ids(*range(200)))).keys() == set(ids(*range(200)))
        assert len(thread.page_starts) == 2


def test_runs_that_lie_across_three_pages_cost_two_after_a_few_polls(make_thread):
    thread, planner = make_thread(runs(500)), RunPagePlanner("thread_1")
    wanted = ids(*range(150, 350))
    pages = []
    for _ in range(4):
        assert thread.drive(planner.find(wanted)).keys() == set(wanted)
        pages.append(len(thread.page_starts))
    assert pages == [4, 2, 2, 2]


@pytest.mark.parametrize("newer", [1, 60, 100, 250])
def test_newer_runs_cost_something_once_and_nothing_later(make_thread, newer):
    thread, planner = make_thread(runs(400)), RunPagePlanner("thread_1")
    wanted = ids(*range(200))
    thread.drive(planner.find(wanted))
    add_newer(thread, newer)
    first = thread.drive(planner.find(wanted))
    assert len(thread.page_starts) + len(set(wanted) - first.keys()) <= 2 + 2 + newer // 100
    for _ in range(2):
        add_newer(thread, newer)
        found = thread.drive(planner.find(wanted))
    assert found.keys() == set(wanted)
    assert len(thread.page_starts) == 2
    assert None not in thread.page_starts


def test_runs_far_apart_are_left_to_single_requests_from_the_second_poll_on(make_thread):
    thread, planner = make_thread(runs(3000)), RunPagePlanner("thread_1")
    wanted = ids(0, 500, 1000, 1500, 2000, 2500)
    thread.drive(planner.find(wanted))
    assert len(thread.page_starts) <= len(wanted)
    assert thread.drive(planner.find(wanted)) == {}
    assert thread.page_starts == []


def test_a_search_without_a_result_is_short_and_made_once(make_thread):
    thread, planner = make_thread(runs(5000)), RunPagePlanner("thread_1")
    wanted = [f"elsewhere_{number}" for number in range(200)]
    assert thread.drive(planner.find(wanted)) == {}
    assert len(thread.page_starts) == 20
    assert thread.drive(planner.find(wanted)) == {}
    assert thread.page_starts == []
    assert set(planner.not_listed) == set(wanted)


def test_a_few_runs_are_not_searched_far(make_thread):
    thread, planner = make_thread(runs(5000)), RunPagePlanner("thread_1")
    assert thread.drive(planner.find(ids(*range(4000, 4020)))) == {}
    assert len(thread.page_starts) == 5


def test_runs_behind_many_others_that_are_awaited_are_found(make_thread):
    thread, planner = make_thread(runs(1200)), RunPagePlanner("thread_1")
    awaited = ids(*range(1000))
    assert thread.drive(planner.find(ids(*range(900, 940)), awaited)).keys() == set(ids(*range(900, 940)))
    assert thread.drive(planner.find(awaited)).keys() == set(awaited)
    assert len(thread.page_starts) == 10


def test_pages_are_given_up_as_their_runs_finish(make_thread):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    wanted = ids(*range(200))
    thread.drive(planner.find(wanted))
    assert thread.drive(planner.find(ids(0, 1, 150))).keys() == set(ids(0, 1))
    assert thread.page_starts == [None]
    assert thread.drive(planner.find(ids(0, 150))) == {}


def test_a_page_is_never_requested_that_replaces_less_than_two_single_requests(make_thread):
    thread, planner = make_thread(runs(1000)), RunPagePlanner("thread_1")
    wanted = ids(*range(0, 1000, 7))
    for _ in range(3):
        found = thread.drive(planner.find(wanted))
        assert 2 * len(thread.page_starts) <= len(found)
        wanted = wanted[: len(wanted) // 2]


def test_the_pages_of_awaited_runs_are_learned_with_those_of_wanted_runs(make_thread):
    thread, planner = make_thread(runs(400)), RunPagePlanner("thread_1")
    awaited = ids(*range(250))
    assert thread.drive(planner.find(ids(10, 20), awaited)).keys() == set(ids(10, 20))
    assert thread.page_starts == [None, "run_99", "run_199"]
    thread.drive(planner.find(ids(0, 99), awaited))
    assert len(thread.page_starts) == 1


def test_what_was_learned_goes_to_another_process_in_a_few_bytes(make_thread):
    thread, planner = make_thread(runs(1000)), RunPagePlanner("thread_1")
    wanted = ids(*range(150, 350), 900)
    for _ in range(3):
        thread.drive(planner.find(wanted))
    state = json.dumps(planner.starts)
    assert len(state) < 60
    again = RunPagePlanner("thread_1", json.loads(state))
    found = thread.drive(again.find(wanted))
    assert found.keys() == set(wanted) - {"run_900"}
    assert len(thread.page_starts) == 2
    assert again.starts == json.loads(state)


def test_a_process_that_continues_after_a_failed_poll_still_knows_the_pages(make_thread):
    thread = make_thread(runs(1000))
    planner = RunPagePlanner("thread_1", ["run_149", "run_249"])
    thread.errors["run_249"] = PortkeyServerError("broken", status_code=500)
    wanted = ids(*range(150, 350))
    with pytest.raises(PortkeyServerError):
        thread.drive(planner.find(wanted))
    assert planner.starts == ["run_149", "run_249"]
    thread.errors.clear()
    assert thread.drive(planner.find(wanted)).keys() == set(wanted)


def test_nothing_counts_as_learned_before_a_complete_poll(make_thread):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    thread.errors["run_99"] = PortkeyServerError("broken", status_code=500)
    with pytest.raises(PortkeyServerError):
        thread.drive(planner.find(ids(*range(200))))
    assert planner.starts is None


def test_a_server_that_ignores_the_cursor_does_not_send_the_same_page_for_ever(make_thread):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    thread.ignores_after = True
    for _ in range(3):
        found = thread.drive(planner.find(ids(*range(200))))
        assert found.keys() == set(ids(*range(100)))
        assert len(thread.page_starts) <= 2
    assert len(thread.page_starts) == 1


def test_a_cursor_that_is_gone_leaves_its_runs_to_single_requests(make_thread):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    wanted = ids(*range(50, 250))
    for _ in range(2):
        thread.drive(planner.find(wanted))
    thread.errors["run_49"] = PortkeyBadRequestError("no such run", status_code=400)
    assert thread.drive(planner.find(wanted)).keys() == set(ids(*range(150, 250)))
    thread.drive(planner.find(wanted))
    assert "run_49" not in thread.page_starts


@pytest.mark.parametrize("after", [None, "run_99"])
def test_a_refusal_of_the_list_itself_is_raised(make_thread, after):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    thread.errors[after] = PortkeyAuthenticationError("no", status_code=401)
    with pytest.raises(PortkeyAuthenticationError):
        thread.drive(planner.find(ids(*range(200))))


@pytest.mark.parametrize("page", [{"object": "list"}, {"data": [{"status": "queued"}]}])
def test_a_response_that_is_no_list_is_an_error(page):
    for plan in (RunPagePlanner("thread_1").find(ids(1, 2)), RunPagePlanner("thread_1").find_active(TERMINAL, 0)):
        with pytest.raises(PortkeyUnexpectedResponseError):
            drive(plan, lambda path, ids, query: page)


def test_each_run_is_reported_as_its_page_arrives(make_thread):
    thread, reported = make_thread(runs(300)), []
    plan = RunPagePlanner("thread_1").find(ids(*range(200)), on_found=lambda run: reported.append(run["id"]))
    request = next(plan)
    plan.send(thread.get(request.path, request.ids, request.query))
    assert reported == ids(*range(100))


def test_finds_the_active_runs_and_knows_their_pages(make_thread):
    thread, planner = make_thread(runs(350)), RunPagePlanner("thread_1")
    for run in thread.runs[::2]:
        run["status"] = "completed"
    found = thread.drive(planner.find_active(TERMINAL, oldest=0))
    assert list(found) == ids(*range(1, 350, 2))
    assert len(thread.page_starts) == 4
    assert thread.drive(planner.find(found)).keys() == found.keys()
    assert len(thread.page_starts) <= 4


def test_the_search_for_active_runs_ends_at_the_first_page_that_is_too_old(make_thread):
    thread = make_thread(runs(1000))
    assert len(thread.drive(RunPagePlanner("thread_1").find_active(TERMINAL, oldest=100_000 - 150))) == 300
    assert len(thread.page_starts) == 3


def test_the_search_for_active_runs_refuses_a_server_that_ignores_the_cursor(make_thread):
    thread, planner = make_thread(runs(300)), RunPagePlanner("thread_1")
    thread.ignores_after = True
    with pytest.raises(PortkeyPaginationError, match="run_0"):
        thread.drive(planner.find_active(TERMINAL, oldest=0))
    assert len(thread.page_starts) == 2
    assert planner.starts is None


@pytest.mark.parametrize(
    "error", [PortkeyBadRequestError("gone", status_code=400), PortkeyNotFoundError("gone", status_code=404)]
)
def test_the_search_for_active_runs_does_not_stop_at_a_cursor_that_is_gone(make_thread, error):
    thread = make_thread(runs(300))
    thread.errors["run_99"] = error
    with pytest.raises(type(error)):
        thread.drive(RunPagePlanner("thread_1").find_active(TERMINAL, oldest=0))


@pytest.mark.parametrize("status", [None, 7, [], {}])
def test_a_run_with_a_wrong_status_counts_as_active(make_thread, status):
    thread = make_thread(runs(1))
    thread.runs[0]["status"] = status
    assert list(thread.drive(RunPagePlanner("thread_1").find_active(TERMINAL, oldest=0))) == ids(0)


@pytest.mark.parametrize("created_at", ["2026-11-01", True, [], {}])
def test_a_creation_time_that_is_no_number_is_an_error(make_thread, created_at):
    thread = make_thread(runs(150))
    thread.runs[1]["created_at"] = created_at
    with pytest.raises(PortkeyUnexpectedResponseError, match="run_1"):
        thread.drive(RunPagePlanner("thread_1").find_active(TERMINAL, oldest=1e9))


def test_a_run_that_does_not_say_when_it_was_created_is_not_too_old(make_thread):
    thread = make_thread(runs(300))
    thread.runs[99]["created_at"] = None
    thread.drive(RunPagePlanner("thread_1").find_active(TERMINAL, oldest=1e9))
    assert len(thread.page_starts) == 2


def test_pages_that_two_searches_have_found_come_to_follow_each_other(make_thread):
    thread, planner = make_thread(runs(1000)), RunPagePlanner("thread_1")
    thread.drive(planner.find(ids(*range(50, 350))))
    thread.drive(planner.find(ids(*range(0, 350))))
    for _ in range(2):
        assert thread.drive(planner.find(ids(*range(350)))).keys() == set(ids(*range(350)))
    assert len(thread.page_starts) == 4
