from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from airflow_provider_portkey.polling.wait_state import WaitState

STATE = WaitState(
    started_at=1.5,
    deadline=100.0,
    poll_interval=7.0,
    min_poll_interval=2.0,
    max_poll_interval=30.0,
    created_at=4.0,
    next_poll_at=8.5,
    max_consecutive_failures=None,
    on_requires_action="wait",
    include_fields=["tools"],
    max_bytes=1_000,
    status="queued",
    failures=2,
    progress="completed 1",
    warned_at=3.5,
)


@pytest.mark.parametrize("state", [STATE, WaitState(started_at=0.0, deadline=1.0)])
def test_survives_a_round_trip_through_json(state: WaitState) -> None:
    assert WaitState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_every_value_travels() -> None:
    defaults = WaitState(started_at=0.0, deadline=0.0).to_dict()
    assert STATE.to_dict().keys() == {field.name for field in fields(WaitState)}
    assert not [name for name, value in STATE.to_dict().items() if value == defaults[name]]


def test_defaults_poll_at_once_and_tolerate_five_failures() -> None:
    assert WaitState(started_at=1.0, deadline=2.0).to_dict() == {
        "started_at": 1.0,
        "deadline": 2.0,
        "poll_interval": None,
        "min_poll_interval": 1.0,
        "max_poll_interval": 60.0,
        "created_at": None,
        "next_poll_at": 0.0,
        "max_consecutive_failures": 5,
        "on_requires_action": "fail",
        "include_fields": [],
        "max_bytes": None,
        "status": None,
        "failures": 0,
        "progress": "",
        "warned_at": None,
    }


def test_a_state_is_replaced_and_not_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        STATE.failures = 0  # type: ignore[misc]


def test_a_changed_state_is_another_one_with_these_values() -> None:
    before = replace(STATE)
    changes = {"status": "in_progress", "failures": 0, "next_poll_at": 20.0}
    assert STATE.changed(**changes) == replace(STATE, **changes)
    assert STATE.changed(**changes).to_dict() == STATE.to_dict() | changes
    assert before == STATE
