from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyBadRequestError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.polling.run_pages import Pages, RunPagePlanner

ENDED = {"completed", "failed"}


class Thread:
    """A thread's list of runs, newest first, that says which pages were asked for."""

    def __init__(self, runs: int) -> None:
        self.runs = [self.run(number) for number in range(runs)]
        self.asked: list[str | None] = []
        self.refuse: dict[str | None, Exception] = {}
        self.ignores_after = False

    def run(self, number: int) -> dict[str, Any]:
        return {"id": f"run_{number}", "status": "in_progress", "created_at": 100_000 - number}

    def add_newer(self, runs: int) -> None:
        self.runs = [{"id": f"newer_{len(self.runs)}_{number}"} for number in range(runs)] + self.runs

    def page(self, after: str | None) -> dict[str, Any]:
        start = 0
        if after is not None and not self.ignores_after:
            start = 1 + next(place for place, run in enumerate(self.runs) if run["id"] == after)
        return {"data": self.runs[start : start + 100], "has_more": start + 100 < len(self.runs)}

    def answer(self, pages: Pages) -> dict[str, Any]:
        """Response every page that a look asks for, and return what it found."""
        self.asked = []
        try:
            after = next(pages)
            while True:
                self.asked.append(after)
                error = self.refuse.get(after)
                after = pages.throw(error) if error else pages.send(self.page(after))
        except StopIteration as end:
            return end.value


def ids(*numbers: int) -> list[str]:
    return [f"run_{number}" for number in numbers]


def test_one_run_is_asked_for_by_itself():
    thread, roll_call = Thread(10), RunPagePlanner()
    assert thread.answer(roll_call.look(ids(3))) == {}
    assert thread.asked == []


def test_two_hundred_runs_come_with_two_pages_at_every_look():
    thread, roll_call = Thread(500), RunPagePlanner()
    for _ in range(3):
        assert thread.answer(roll_call.look(ids(*range(200)))).keys() == set(ids(*range(200)))
        assert len(thread.asked) == 2


def test_runs_that_lie_across_three_pages_come_with_two_from_the_second_look_on():
    thread, roll_call = Thread(500), RunPagePlanner()
    wanted = ids(*range(150, 350))
    asked = []
    for _ in range(4):
        assert thread.answer(roll_call.look(wanted)).keys() == set(wanted)
        asked.append(len(thread.asked))
    assert asked == [4, 3, 2, 2]


@pytest.mark.parametrize("newer", [1, 60, 100, 250])
def test_newer_runs_cost_something_once_and_nothing_later(newer):
    thread, roll_call = Thread(400), RunPagePlanner()
    wanted = ids(*range(200))
    thread.answer(roll_call.look(wanted))
    thread.add_newer(newer)
    first = thread.answer(roll_call.look(wanted))
    assert len(thread.asked) + len(set(wanted) - first.keys()) <= 2 + 2 + newer // 100
    for _ in range(2):
        thread.add_newer(newer)
        found = thread.answer(roll_call.look(wanted))
    assert found.keys() == set(wanted)
    assert len(thread.asked) == 2
    assert None not in thread.asked


def test_runs_far_apart_are_asked_for_one_by_one_from_the_second_look_on():
    thread, roll_call = Thread(3000), RunPagePlanner()
    wanted = ids(0, 500, 1000, 1500, 2000, 2500)
    thread.answer(roll_call.look(wanted))
    assert len(thread.asked) <= len(wanted)
    assert thread.answer(roll_call.look(wanted)) == {}
    assert thread.asked == []


def test_a_search_in_vain_is_short_and_made_once():
    thread, roll_call = Thread(5000), RunPagePlanner()
    wanted = [f"elsewhere_{number}" for number in range(200)]
    assert thread.answer(roll_call.look(wanted)) == {}
    assert len(thread.asked) == 20
    assert thread.answer(roll_call.look(wanted)) == {}
    assert thread.asked == []
    assert set(roll_call.not_listed) == set(wanted)


def test_a_few_runs_are_not_searched_far():
    thread, roll_call = Thread(5000), RunPagePlanner()
    assert thread.answer(roll_call.look(ids(*range(4000, 4020)))) == {}
    assert len(thread.asked) == 5


def test_runs_behind_many_others_that_are_awaited_are_found():
    thread, roll_call = Thread(1200), RunPagePlanner()
    everybody = ids(*range(1000))
    assert thread.answer(roll_call.look(ids(*range(900, 940)), everybody)).keys() == set(ids(*range(900, 940)))
    assert thread.answer(roll_call.look(everybody)).keys() == set(everybody)
    assert len(thread.asked) == 10


def test_pages_are_given_up_as_their_runs_end():
    thread, roll_call = Thread(300), RunPagePlanner()
    wanted = ids(*range(200))
    thread.answer(roll_call.look(wanted))
    assert thread.answer(roll_call.look(ids(0, 1, 150))).keys() == set(ids(0, 1))
    assert thread.asked == [None]
    assert thread.answer(roll_call.look(ids(0, 150))) == {}


def test_a_page_is_never_asked_for_that_replaces_less_than_two_single_requests():
    thread, roll_call = Thread(1000), RunPagePlanner()
    wanted = ids(*range(0, 1000, 7))
    for _ in range(3):
        found = thread.answer(roll_call.look(wanted))
        assert 2 * len(thread.asked) <= len(found)
        wanted = wanted[: len(wanted) // 2]


def test_where_awaited_runs_stand_is_learned_with_those_that_are_wanted():
    thread, roll_call = Thread(400), RunPagePlanner()
    everybody = ids(*range(250))
    assert thread.answer(roll_call.look(ids(10, 20), everybody)).keys() == set(ids(10, 20))
    assert thread.asked == [None]
    thread.answer(roll_call.look(ids(0, 99), everybody))
    assert len(thread.asked) == 1


def test_what_was_learned_goes_to_another_process_in_a_few_bytes():
    thread, roll_call = Thread(1000), RunPagePlanner()
    wanted = ids(*range(150, 350), 900)
    for _ in range(3):
        thread.answer(roll_call.look(wanted))
    state = json.dumps(roll_call.starts)
    assert len(state) < 60
    again = RunPagePlanner(json.loads(state))
    found = thread.answer(again.look(wanted))
    assert found.keys() == set(wanted) - {"run_900"}
    assert len(thread.asked) == 2
    assert again.starts == json.loads(state)


def test_a_process_that_goes_on_after_a_look_that_failed_still_knows_the_pages():
    thread = Thread(1000)
    roll_call = RunPagePlanner(["run_149", "run_249"])
    thread.refuse["run_249"] = PortkeyServerError("broken", status_code=500)
    wanted = ids(*range(150, 350))
    with pytest.raises(PortkeyServerError):
        thread.answer(roll_call.look(wanted))
    assert roll_call.starts == ["run_149", "run_249"]
    thread.refuse.clear()
    assert thread.answer(roll_call.look(wanted)).keys() == set(wanted)


def test_nothing_counts_as_learned_before_a_whole_look():
    thread, roll_call = Thread(300), RunPagePlanner()
    thread.refuse["run_99"] = PortkeyServerError("broken", status_code=500)
    with pytest.raises(PortkeyServerError):
        thread.answer(roll_call.look(ids(*range(200))))
    assert roll_call.starts is None


def test_a_server_that_ignores_the_cursor_does_not_send_the_same_page_for_ever():
    thread, roll_call = Thread(300), RunPagePlanner()
    thread.ignores_after = True
    for _ in range(3):
        found = thread.answer(roll_call.look(ids(*range(200))))
        assert found.keys() == set(ids(*range(100)))
        assert len(thread.asked) <= 2
    assert len(thread.asked) == 1


def test_a_cursor_that_is_gone_leaves_its_runs_to_single_requests():
    thread, roll_call = Thread(300), RunPagePlanner()
    wanted = ids(*range(50, 250))
    for _ in range(2):
        thread.answer(roll_call.look(wanted))
    thread.refuse["run_49"] = PortkeyBadRequestError("no such run", status_code=400)
    assert thread.answer(roll_call.look(wanted)).keys() == set(ids(*range(150, 250)))
    thread.answer(roll_call.look(wanted))
    assert "run_49" not in thread.asked


@pytest.mark.parametrize("after", [None, "run_99"])
def test_a_refusal_of_the_list_itself_is_raised(after):
    thread, roll_call = Thread(300), RunPagePlanner()
    thread.refuse[after] = PortkeyAuthenticationError("no", status_code=401)
    with pytest.raises(PortkeyAuthenticationError):
        thread.answer(roll_call.look(ids(*range(200))))


@pytest.mark.parametrize("page", [{"object": "list"}, {"data": [{"status": "queued"}]}])
def test_an_answer_that_is_no_list_is_an_error(page):
    pages = RunPagePlanner().look(ids(1, 2))
    next(pages)
    with pytest.raises(PortkeyUnexpectedResponseError):
        pages.send(page)


def test_each_run_is_told_as_its_page_comes():
    thread, told = Thread(300), []
    pages = RunPagePlanner().look(ids(*range(200)), on_found=lambda run: told.append(run["id"]))
    pages.send(thread.page(next(pages)))
    assert told == ids(*range(100))


def test_discovers_the_active_runs_and_knows_their_pages():
    thread, roll_call = Thread(350), RunPagePlanner()
    for run in thread.runs[::2]:
        run["status"] = "completed"
    found = thread.answer(roll_call.discover(ENDED, oldest=0))
    assert list(found) == ids(*range(1, 350, 2))
    assert len(thread.asked) == 4
    assert thread.answer(roll_call.look(found)).keys() == found.keys()
    assert len(thread.asked) <= 4


def test_discovery_ends_at_the_first_page_that_is_too_old():
    thread = Thread(1000)
    assert len(thread.answer(RunPagePlanner().discover(ENDED, oldest=100_000 - 150))) == 300
    assert len(thread.asked) == 3


def test_discovery_ends_where_the_server_goes_round_in_circles():
    thread = Thread(300)
    thread.ignores_after = True
    assert len(thread.answer(RunPagePlanner().discover(ENDED, oldest=0))) == 100
    assert len(thread.asked) == 2
