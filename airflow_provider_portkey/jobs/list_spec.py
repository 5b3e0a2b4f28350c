"""The declaration of a list: its path, the query parameters that the API takes, its columns, how it is paged."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.client.pagination import (
    CursorPager,
    Item,
    PageNumberPager,
    Pager,
    Query,
    SinglePage,
    items_of,
)
from airflow_provider_portkey.client.paths import id_names
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.parameters import PARAMETERS
from airflow_provider_portkey.validation import is_utf8, validate_id

#: The types of columns: ``"integer"`` has 64 bits (epoch seconds for times), ``"number"`` is a float of 64 bits,
#: ``"timestamp"`` is ISO 8601 or epoch seconds, ``"json"`` is any value as a JSON string.
COLUMN_TYPES = ("text", "integer", "number", "boolean", "timestamp", "json")
#: The last column of every table: a JSON string with the fields that are not declared or not of the declared type.
OTHER_FIELDS = "other_fields"
#: How a list is paged.
PAGING = ("cursor", "page_number", "none")


class FixedColumns(dict[str, str]):
    """The columns of a table without :data:`OTHER_FIELDS`: rows have no other fields."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ListSpec:
    """
    Declares one list of the API.

    :param kind: What its items are, in the plural, for messages and manifests, such as ``"runs"``.
    :param path: Path below the base URL, with ``{name}`` for each id; a GET returns a page.
    :param columns: The columns of a table by name, or as pairs of name and type: one of :data:`COLUMN_TYPES`.
    :param parameters: Names of the query parameters that the API takes; no other parameter is sent.
    :param paging: ``"cursor"`` (the parameter ``after``), ``"page_number"``, or ``"none"`` for a list of one page.
    :param has_ids: Whether every item has an id. Where ``False``, a cursor needs the id of a page's last item only.
    :param newest_first: Whether the newest item comes first where no ``order`` is requested.
    :param items_field: Field of the page with the items.
    :param limit_parameter: Query parameter with the number of items on a page.
    :param page_parameter: Query parameter with the number of the page.
    :param first_page: Number of the first page.
    """

    kind: str
    path: str
    columns: Mapping[str, str] | Iterable[tuple[str, str]]
    parameters: Collection[str] = ("limit", "order", "after", "before")
    paging: str = "cursor"
    has_ids: bool = True
    newest_first: bool = True
    items_field: str = "data"
    limit_parameter: str = "limit"
    page_parameter: str = "current_page"
    first_page: int = 0

    def __post_init__(self) -> None:
        """
        Check the declaration.

        :raises ValueError: naming the kind and the wrong field.
        """
        if not self.path.startswith("/"):
            raise self._error("path", self.path, "a path that begins with '/'")
        if self.path.count("{") + self.path.count("}") != 2 * len(set(self.id_names)):
            raise self._error("path", self.path, "a path with one {name} for each id")
        if isinstance(self.parameters, str) or not all(isinstance(name, str) and name for name in self.parameters):
            raise self._error("parameters", self.parameters, "a collection of names")
        if self.paging not in PAGING:
            raise self._error("paging", self.paging, f"one of {', '.join(map(repr, PAGING))}")
        needed = {"cursor": "after", "page_number": self.page_parameter}.get(self.paging)
        if needed and needed not in self.parameters:
            raise self._error(
                "parameters", sorted(self.parameters), f"{needed!r} among them, for paging={self.paging!r}"
            )
        object.__setattr__(self, "parameters", tuple(sorted(self.parameters)))
        object.__setattr__(self, "columns", self._checked_columns())

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the ids in the path, in their order."""
        return id_names(self.path)

    def items_of(self, page: Mapping[str, Any]) -> list[Item]:
        """
        Return the items of a page.

        :raises PortkeyUnexpectedResponseError: where the page is no list of objects, with an id each if they have ids.
        """
        return items_of(page, field=self.items_field, has_ids=self.has_ids)

    def pager(self, *, page_size: int, after: str | None = None) -> Pager:
        """
        Return what walks the pages of this list.

        :param page_size: Items for each request, 1 to 100.
        :param after: Start after the item with this id; only for a list with a cursor.
        """
        if self.paging == "cursor":
            return CursorPager(page_size=page_size, after=after)
        if self.paging == "page_number":
            return PageNumberPager(page_size=page_size, page=self.first_page)
        return SinglePage()

    def query(
        self,
        *,
        limit: int | None = None,
        order: str | None = None,
        after: str | None = None,
        before: str | None = None,
        page: int | None = None,
        **parameters: Any,
    ) -> Query:
        """
        Check the parameters of a request, and return them as query parameters; ``None`` is not sent.

        :param limit: Items on the page, 1 to 100; not sent where the list has no such parameter.
        :param order: ``"asc"`` or ``"desc"``; for a list without this parameter only the order that it has.
        :param after: Id of the item before the page's first one.
        :param before: Id of the item after the page's last one.
        :param page: Number of the page.
        :param parameters: Further parameters of the list: a string, a number, a boolean, or a list of these, which is
            sent as ``name[]``.
        :raises PortkeyInvalidArgumentError: naming the wrong parameter.
        """
        query = []
        limit = PARAMETERS["limit"]("limit", limit)
        if limit is not None and self.limit_parameter in self.parameters:
            query.append((self.limit_parameter, str(limit)))
        order = PARAMETERS["order"]("order", order)
        if order is not None:
            if "order" in self.parameters:
                query.append(("order", order))
            elif order != (own := "desc" if self.newest_first else "asc"):
                raise PortkeyInvalidArgumentError(
                    "order", order, f"{own!r} or None: the list of {self.kind} has no order"
                )
        if page is not None:
            query.append((self.page_parameter, str(page)))
        for name, value in {"after": after, "before": before, **parameters}.items():
            if value is None:
                continue
            if name not in self.parameters:
                raise PortkeyInvalidArgumentError(name, value, f"None: the list of {self.kind} has no such parameter")
            if name in (self.limit_parameter, self.page_parameter):
                raise PortkeyInvalidArgumentError(name, value, "None: this parameter belongs to paging")
            query += _pairs(name, value)
        return query

    def _checked_columns(self) -> dict[str, str]:
        pairs = list(self.columns.items() if isinstance(self.columns, Mapping) else self.columns)
        names = [name for name, _ in pairs]
        if not pairs or not all(isinstance(name, str) and name for name in names):
            raise self._error("columns", names, "at least one column, each with a name")
        if repeated := sorted({name for name in names if names.count(name) > 1 or name == OTHER_FIELDS}):
            raise self._error(
                "columns", repeated, f"each name once, and {OTHER_FIELDS!r} only as the column of the rest"
            )
        for name, kind in pairs:
            if kind not in COLUMN_TYPES:
                raise self._error(f"columns[{name!r}]", kind, f"one of {', '.join(map(repr, COLUMN_TYPES))}")
        return dict(pairs)

    def _error(self, field: str, value: Any, expected: str) -> ValueError:
        return ValueError(f"List of {self.kind}: {field}={value!r} is not valid: expected {expected}.")


def _pairs(name: str, value: Any) -> Query:
    """Return a parameter as the reference client of OpenAI writes it."""
    if name in ("after", "before"):
        return [(name, validate_id(name, value))]
    value = PARAMETERS["include"](name, value) if name == "include" else value
    many = isinstance(value, list | tuple)
    texts = [_text(each) for each in (value if many else [value])]
    if None in texts:
        expected = "a string that is not empty, a number, a boolean, or a list of these"
        raise PortkeyInvalidArgumentError(name, value, expected)
    return [(f"{name}[]" if many else name, str(text)) for text in texts]


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if math.isfinite(value) else None
    return value if isinstance(value, str) and value.strip() and is_utf8(value) else None
