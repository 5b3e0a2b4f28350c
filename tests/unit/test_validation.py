from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.validation import (
    boolean,
    iter_ids,
    name_list,
    one_of,
    read_ids,
    real_number,
    whole_number,
)


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        ("a", "b", "a"),
        iter(["a", "b"]),
        '["a", "b"]',
        "['a', 'b']",
        "a,b",
        "a b",
        " a ,\n b,\n",
        "a\nb\n",
    ],
)
def test_ids_in_any_form_that_a_template_renders(given: Any) -> None:
    assert read_ids("ids", given) == ["a", "b"]


@pytest.mark.parametrize("given", [[1, 22], (1, 22), "1,22", "[1, 22]", ["1", 22]])
def test_ids_of_digits_are_strings_whatever_rendering_made_of_them(given: Any) -> None:
    assert read_ids("ids", given) == ["1", "22"]
    assert read_ids("ids", 22) == ["22"]


def test_none_is_none_and_an_empty_list_is_one() -> None:
    assert read_ids("ids", None) is None
    assert read_ids("ids", []) == read_ids("ids", "[]") == []


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  \n",
        "None",
        "[",
        '["a"',
        "['a'",
        "[1+]",
        b"a",
        '{"a": 1}',
        {"a": 1},
        True,
        1.5,
        [""],
        [".."],
        [1.5],
        "[true]",
    ],
)
def test_what_holds_no_ids_is_refused(given: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^ids"):
        read_ids("ids", given)


@pytest.mark.parametrize("wrong", ["", " ", ".", "..", 1.5, True, None, "\ud800", "a\0"])
def test_a_wrong_id_is_named_by_its_place(wrong: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^ids\[1\]="):
        list(iter_ids("ids", ["a", wrong]))


@pytest.mark.parametrize(
    ("rule", "value", "used"),
    [
        (whole_number(1, 5), 5, 5),
        (whole_number(1), "7", 7),
        (whole_number(0, optional=True), None, None),
        (whole_number(0, optional=True), "None", None),
        (real_number(0, 1), 0, 0),
        (real_number(0, 1), "0.25", 0.25),
        (real_number(0, 1, optional=True), "None", None),
        (one_of("a", "b"), "a", "a"),
        (one_of("a", optional=True), None, None),
        (boolean, True, True),
        (boolean, "false", False),
        (boolean, "True", True),
    ],
)
def test_a_rule_returns_the_value_to_use(rule: Any, value: Any, used: Any) -> None:
    assert rule("field", value) == used
    assert type(rule("field", value)) is type(used)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        *((whole_number(1, 5), value) for value in (0, 6, True, 1.0, "1.0", "x", None, [1], "None")),
        *((real_number(0, 1), value) for value in (-0.1, 1.1, True, float("nan"), float("inf"), "nan", "x", None)),
        *((real_number(0, above=True), value) for value in (0, "0", -1)),
        # A template that rendered to nothing is a mistake, and would allow any number.
        *((rule, "") for rule in (whole_number(0, optional=True), real_number(0, 1, optional=True))),
        *((one_of("a", "b"), value) for value in ("c", "", None, ["a"], 1)),
        *((boolean, value) for value in (1, 0, None, "yes", "")),
    ],
)
def test_a_rule_names_the_field_the_value_and_what_is_right(rule: Any, value: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^field=.* is not valid: expected .+\."):
        rule("field", value)


@pytest.mark.parametrize("given", [["a", "b"], ("a", "b"), '["a", "b"]', "['a', 'b']", "a,b", " a b ", "a\nb"])
def test_names_in_any_form_that_a_template_renders(given: Any) -> None:
    assert list(name_list("fields", given)) == ["a", "b"]


@pytest.mark.parametrize(("given", "used"), [(None, None), ("None", None), ([], []), ("[]", [])])
def test_no_names_are_none_or_an_empty_list(given: Any, used: Any) -> None:
    assert name_list("fields", given) == used


@pytest.mark.parametrize("given", ["", 7, ["a", 1], ["a", ""], {"a": 1}, '{"a": 1}', "[1]", "[", b"a", {"a"}])
def test_what_holds_no_names_is_refused(given: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^fields=.* expected a list of field names"):
        name_list("fields", given)
