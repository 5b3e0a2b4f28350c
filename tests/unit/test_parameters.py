from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.parameters import PARAMETERS, validate_parameters


def test_templates_wait_until_they_are_rendered() -> None:
    operator = SimpleNamespace(max_bytes="{{ params.size }}", order="{% if x %}asc{% endif %}")
    validate_parameters(operator)
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^max_bytes='\{\{"):
        validate_parameters(operator, rendered=True)


def test_the_output_of_a_task_waits_too() -> None:
    class Reference:
        def iter_references(self) -> None: ...

    validate_parameters(SimpleNamespace(max_bytes=Reference()))


def test_rendered_strings_become_values() -> None:
    operator = SimpleNamespace(max_bytes="2000", overwrite="False", max_failure_ratio="None", order="desc", other="x")
    validate_parameters(operator, rendered=True)
    assert vars(operator) == {
        "max_bytes": 2000,
        "overwrite": False,
        "max_failure_ratio": None,
        "order": "desc",
        "other": "x",
    }


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_parameter_refuses_nonsense_by_its_name(name: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^{name}=<object"):
        validate_parameters(SimpleNamespace(**{name: object()}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_requires_action", "panic"),
        ("max_consecutive_failures", 0),
        ("max_consecutive_failures", True),
        ("max_consecutive_failures", "five"),
        ("poke_interval", float("nan")),
        ("poke_interval", -1),
        ("wait_for", "some"),
        ("max_failed_runs", -1),
        ("max_failed_runs", True),
        ("max_failed_runs", 0.1),
        ("created_within", 0),
        ("created_within", float("nan")),
        ("poll_interval", 0),
        ("poll_interval", True),
        ("lookback", -1),
    ],
)
def test_a_wait_refuses_a_wrong_value_by_its_name(name: str, value: object) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^{name}={value!r}"):
        validate_parameters(SimpleNamespace(**{name: value}))


#: What ``render_template_as_native_obj=True`` makes of digits.
NATIVE: dict[str, tuple[object, object]] = {
    "thread_id": (123, "123"),
    "run_id": (0, "0"),
    "batch_id": (2**70, str(2**70)),
    "model": (4.1, "4.1"),
    "instructions": (42, "42"),
    "portkey_conn_id": (7, "7"),
    "path": (20261101, "20261101"),
    "metadata": ({"order": 42, 7: 1.5, "is_test": True, "team": "data"}, None),
    "ids": ({"thread_id": 1, "run_id": "r"}, {"thread_id": "1", "run_id": "r"}),
    "input": ([{"role": "user", "content": 42}, {"role": "user", "content": [1]}], None),
    "thread": ({"messages": [{"role": "user", "content": 42}], "metadata": {"a": "b"}}, None),
}
NATIVE["metadata"] = (NATIVE["metadata"][0], {"order": "42", "7": "1.5", "is_test": "True", "team": "data"})
NATIVE["input"] = (NATIVE["input"][0], [{"role": "user", "content": "42"}, {"role": "user", "content": [1]}])
NATIVE["thread"] = (
    NATIVE["thread"][0],
    {"messages": [{"role": "user", "content": "42"}], "metadata": {"a": "b"}},
)


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_digits_that_were_rendered_natively_are_strings_again(name: str) -> None:
    rendered, expected = NATIVE[name]
    operator = SimpleNamespace(**{name: rendered})

    validate_parameters(operator, rendered=True)

    assert vars(operator) == {name: expected}
    assert repr(vars(operator)) == repr({name: expected})


@pytest.mark.parametrize(("name", "value"), [("thread_id", True), ("run_id", 1.5), ("model", ["a"]), ("input", {1})])
def test_what_cannot_have_been_a_string_of_digits_is_refused(name: str, value: object) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^{name}=.*tojson"):
        validate_parameters(SimpleNamespace(**{name: value}), rendered=True)


@pytest.mark.parametrize(
    "value", [None, "{{ x }}", "plain", {"a": "{{ x }}"}, [{"role": "user", "content": "{{ x }}"}]]
)
def test_what_is_right_stays_the_same_object(value: object) -> None:
    names = ["input"] if isinstance(value, list) else ["metadata"] if isinstance(value, dict) else ["thread_id", "path"]
    for name in names:
        operator = SimpleNamespace(**{name: value})
        validate_parameters(operator, rendered=False)
        assert vars(operator)[name] == value
