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
