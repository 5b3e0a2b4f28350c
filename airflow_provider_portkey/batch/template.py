"""The request of a row: a template of its body, compiled once and rendered with the row's columns in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

#: What begins a Jinja expression, statement or comment; text without one is constant.
_MARKS = ("{{", "{%", "{#")

_ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True
)
#: Renders a part of the body; a part without a template is returned as it is.
_Render = Callable[[Mapping[str, Any]], Any]


class RowTemplateError(Exception):
    """A row for which the template cannot be rendered; the message completes "Row 7 ..."."""


class RequestTemplate:
    """
    The body of a request, with Jinja templates in any of its strings.

    The sandbox refuses what a template could do beyond text: attributes that begin with an underscore, changes of
    values, calls of unsafe functions. A name that is no column is an error, never an empty string.

    :param body: Strings in it are templates; keys and all other values stay as they are.
    :raises PortkeyInvalidArgumentError: naming the string that is no template.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        #: Where each column is named first.
        self.columns: dict[str, str] = {}
        self._render = self._compile("", body)
        self._body = body

    def check_columns(self, columns: Iterable[str]) -> None:
        """
        Check that each name in the templates is a column.

        :raises PortkeyInvalidArgumentError: naming the template and the columns that there are.
        """
        known = list(columns)
        for name, where in self.columns.items():
            if name not in known:
                expected = f"a template of the columns {', '.join(known)}: there is no column {name!r}"
                raise PortkeyInvalidArgumentError(where, self._text_at(where), expected)

    def render(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the body for a row.

        :raises RowTemplateError: where the template cannot be rendered with this row.
        """
        try:
            body: dict[str, Any] = self._render(row) if self._render else dict(self._body)
        except jinja2.exceptions.UndefinedError as error:
            raise RowTemplateError(f"has no value for the template: {error.message}") from None
        except Exception as error:  # of any function or operator in the template
            raise RowTemplateError(f"cannot be rendered: {type(error).__name__}: {str(error).rstrip('.')}") from None
        return body

    def _compile(self, where: str, value: Any) -> _Render | None:
        """Return the function that renders a part of the body, ``None`` for a constant part."""
        if isinstance(value, str):
            return self._compile_text(where, value)
        if isinstance(value, Mapping):
            parts = {name: self._compile(f"{where}.{name}" if where else str(name), one) for name, one in value.items()}
            if any(parts.values()):
                pairs = [(name, value[name], part) for name, part in parts.items()]
                return lambda row: {name: part(row) if part else constant for name, constant, part in pairs}
        elif isinstance(value, list | tuple):
            items = [(one, self._compile(f"{where}[{number}]", one)) for number, one in enumerate(value)]
            if any(part for _, part in items):
                return lambda row: [part(row) if part else constant for constant, part in items]
        return None

    def _compile_text(self, where: str, text: str) -> _Render | None:
        if not any(mark in text for mark in _MARKS):
            return None
        try:
            syntax = _ENVIRONMENT.parse(text)
            template = _ENVIRONMENT.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            expected = f"a Jinja template (line {error.lineno}: {error.message})"
            raise PortkeyInvalidArgumentError(where, text, expected) from None
        for name in sorted(jinja2.meta.find_undeclared_variables(syntax) - _ENVIRONMENT.globals.keys()):
            self.columns.setdefault(name, where)
        return template.render

    def _text_at(self, where: str) -> Any:
        value: Any = self._body
        for step in where.replace("[", ".").replace("]", "").split("."):
            value = value[int(step)] if isinstance(value, list | tuple) else value[step]
        return value
