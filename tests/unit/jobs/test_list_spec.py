from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from airflow_provider_portkey.client.pagination import Query
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyUnexpectedResponseError
from airflow_provider_portkey.jobs import ListSpec

COLUMNS = {"id": "text", "score": "number"}


def declare(**changes: Any) -> ListSpec:
    return ListSpec(**{"kind": "things", "path": "/boxes/{box_id}/things", "columns": COLUMNS, **changes})


def test_a_declaration_has_defaults_for_a_list_with_a_cursor() -> None:
    spec = declare()

    assert spec.id_names == ("box_id",)
    assert (spec.paging, spec.has_ids, spec.newest_first) == ("cursor", True, True)
    assert dict(spec.columns) == COLUMNS


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"path": "boxes"}, r"path='boxes'"),
        ({"path": "/boxes/{}/things"}, r"path='/boxes/\{\}/things'"),
        ({"path": "/boxes/{box_id/things"}, r"path="),
        ({"path": "/boxes/{box id}/things"}, r"path="),
        ({"path": "/boxes/{id}/things/{id}"}, r"path="),
        ({"columns": {}}, r"columns=\[\] .*at least one column"),
        ({"columns": {"": "text"}}, r"columns=\[''\]"),
        (
            {"columns": {"id": "varchar"}},
            r"columns\['id'\]='varchar' .*'text', 'integer', 'number', 'boolean', 'timestamp', 'json'",
        ),
        ({"columns": {"id": None}}, r"columns\['id'\]=None"),
        ({"columns": [("id", "text"), ("at", "integer"), ("id", "json")]}, r"columns=\['id'\] .*each name once"),
        ({"columns": {"id": "text", "other_fields": "json"}}, r"columns=\['other_fields'\]"),
        ({"parameters": "limit"}, r"parameters='limit'"),
        ({"parameters": ["limit", "after", ""]}, r"parameters=\['limit', 'after', ''\]"),
        ({"parameters": ["limit", "order"]}, r"parameters=\['limit', 'order'\] .*'after' among them"),
        ({"paging": "page_number"}, r"parameters=.*'current_page' among them"),
        ({"paging": "offset"}, r"paging='offset' .*'cursor', 'page_number', 'none'"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_kind_and_the_field(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^List of things: {named}"):
        declare(**changes)


def test_columns_may_be_pairs() -> None:
    assert declare(columns=[("b", "text"), ("a", "json")]).columns == {"b": "text", "a": "json"}


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({}, []),
        ({"limit": 1, "order": "asc"}, [("limit", "1"), ("order", "asc")]),
        (
            {"limit": 100, "order": "desc", "after": "a", "before": "b"},
            [("limit", "100"), ("order", "desc"), ("after", "a"), ("before", "b")],
        ),
        ({"include": ("x", "y")}, [("include[]", "x"), ("include[]", "y")]),
        ({"include": []}, []),
        ({"include": None, "after": None}, []),
        ({"filter": "done", "deep": True, "score": 0.5}, [("filter", "done"), ("deep", "true"), ("score", "0.5")]),
        ({"limit": " 5", "order": "None"}, [("limit", "5")]),
        ({"filter": ["a", 1, False]}, [("filter[]", "a"), ("filter[]", "1"), ("filter[]", "false")]),
    ],
)
def test_parameters_become_the_query(arguments: dict[str, Any], query: Query) -> None:
    names = ("limit", "order", "after", "before", "include", "filter", "deep", "score")

    assert declare(parameters=names).query(**arguments) == query


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("limit", value) for value in (0, -1, 101, 1.5, "many", True)],
        *[("order", value) for value in ("ASC", "newest", 1, ["asc"])],
        *[(name, value) for name in ("after", "before") for value in ("", " ", 5, ["step_1"], True)],
        *[("include", value) for value in ("step_details", [""], [5], [None], b"ab", 5)],
        *[("filter", value) for value in ("", " ", {"a": 1}, [None], [[]], float("nan"), b"a", "\ud800")],
        ("purpose", "batch"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{name}="):
        declare(parameters=("limit", "order", "after", "before", "include", "filter")).query(**{name: wrong})


@pytest.mark.parametrize(("newest_first", "own", "other"), [(True, "desc", "asc"), (False, "asc", "desc")])
def test_a_list_without_the_parameter_order_has_its_own_order_only(newest_first: bool, own: str, other: str) -> None:
    spec = declare(parameters=("limit", "after"), newest_first=newest_first)

    assert spec.query(limit=5, order=own) == [("limit", "5")]
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^order='{other}' .*'{own}' or None: the list of things"):
        spec.query(order=other)


def test_a_list_without_the_parameter_limit_gets_none() -> None:
    assert declare(parameters=("after",)).query(limit=5, after="a") == [("after", "a")]


def test_numbered_pages_have_the_parameters_of_the_api() -> None:
    names = {"page_parameter": "page", "limit_parameter": "per_page"}
    spec = declare(paging="page_number", parameters=("page", "per_page"), first_page=1, **names)

    with pytest.raises(PortkeyInvalidArgumentError, match=r"^per_page=.*belongs to paging"):
        spec.query(per_page=5)
    assert spec.query(limit=50, page=3) == [("per_page", "50"), ("page", "3")]
    assert spec.pager(page_size=50).position(None) == {"limit": 50, "page": 1}


@pytest.mark.parametrize("page", [{"items": []}, {"things": None}, {"things": [1]}, {"things": [{"name": "a"}]}])
def test_a_page_of_another_shape_is_an_error(page: dict[str, Any]) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError):
        declare(items_field="things").items_of(page)


def test_the_same_declaration_has_the_same_text_in_every_process() -> None:
    """Airflow compares the texts of serialized DAGs: one that differs would be a new version of the DAG."""
    code = (
        "from airflow_provider_portkey.jobs import ListSpec\n"
        "print(ListSpec(kind='k', path='/k', columns={'b': 'text', 'a': 'json'}, parameters={'after', 'limit', 'x'}))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(texts) == 1
    assert "0x" not in texts.pop()
