"""The input of batches, made of the rows of a table: one request a row, checked before a file is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.batch.index import IdIndex
from airflow_provider_portkey.batch.input import shown
from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS
from airflow_provider_portkey.batch.parts import PartBuffer, keys_line
from airflow_provider_portkey.batch.rows import Row, Table
from airflow_provider_portkey.batch.schema import check_response_format
from airflow_provider_portkey.batch.template import RequestTemplate, RowTemplateError
from airflow_provider_portkey.exceptions import PortkeyBatchInputInvalidError, PortkeyInvalidArgumentError
from airflow_provider_portkey.export.jsonl import MAX_LINE_BYTES
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.json_values import strict_json
from airflow_provider_portkey.parameters import is_template
from airflow_provider_portkey.validation import json_object

#: The name of the whole row in templates, for columns whose names are no Python names: ``{{ row['Order ID'] }}``.
ROW = "row"
#: Bad rows that an error names; the error counts all of them.
_PROBLEMS_SHOWN = 20
#: The ``custom_id`` of an inline request (Anthropic's reference of message batches).
_INLINE_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_INLINE_RULE = "must be 1 to 64 letters, digits, '_' and '-' in an inline request: set custom_id='hash'"
#: Bytes of a ``custom_id`` that stands for the values of a row.
_HASH_BYTES = 16


@dataclass
class Problems:
    """The rows that are refused: all of them counted, the first twenty named."""

    bad: set[int] = field(default_factory=set)
    first: list[str] = field(default_factory=list)

    def add(self, number: int, problem: str) -> None:
        """Note the problem of a row."""
        self.bad.add(number)
        if len(self.first) < _PROBLEMS_SHOWN:
            self.first.append(f"Row {number} {problem}.")

    def raise_any(self, name: str, rows: int) -> None:
        """
        Raise an error about the rows that were noted.

        :raises PortkeyBatchInputInvalidError: where there is one.
        """
        if not self.bad:
            return
        more = f" And {len(self.bad) - len(self.first)} more." if len(self.bad) > len(self.first) else ""
        raise PortkeyBatchInputInvalidError(
            f"{name}: {len(self.bad)} of {rows} rows cannot become requests. Nothing was written and nothing was sent. "
            f"{' '.join(self.first)}{more}",
            problems=self.first,
            bad_lines=len(self.bad),
        )


@dataclass(kw_only=True)
class RequestBuilder:
    """
    Makes the request of each row of a table.

    :param template: The body.
    :param endpoint: The ``url`` of each request.
    :param inline: Whether the lines are ``{"custom_id", "params"}``.
    :param key_columns: The columns that name a row; ``None`` for all columns.
    :param hashed: Whether the ``custom_id`` is a hash of the key columns, rather than the value of the only one.
    :param variables: Further names for the template, the same for each row.
    :param max_bytes: Bytes of a request at most.
    """

    template: RequestTemplate
    endpoint: str
    inline: bool = False
    key_columns: Sequence[str] | None = None
    hashed: bool = True
    variables: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: int = MAX_LINE_BYTES

    @property
    def columns(self) -> list[str] | None:
        """The columns that are read; ``None`` for all of them."""
        if self.key_columns is None or ROW in self.template.columns:
            return None
        return [*self.key_columns, *self.template.columns]

    def check_columns(self, table: Table) -> None:
        """
        Check the names in the template and the key columns against the columns of a table, where these are known.

        :raises PortkeyInvalidArgumentError: naming the column that is not there.
        """
        if reserved := sorted(OUTCOME_COLUMNS.keys() & set(self.key_columns or table.columns or ())):
            expected = f"columns with other names than those of the table of outcomes, unlike {', '.join(reserved)}"
            raise PortkeyInvalidArgumentError("key_columns", self.key_columns, expected)
        if table.columns is None:
            return
        if twice := sorted(set(table.columns) & self.variables.keys()):
            expected = f"names that are no columns of the table, unlike {', '.join(twice)}"
            raise PortkeyInvalidArgumentError("variables", dict(self.variables), expected)
        if absent := [name for name in self.key_columns or () if name not in table.columns]:
            expected = f"columns of the table, unlike {', '.join(map(repr, absent))}: {', '.join(table.columns)}"
            raise PortkeyInvalidArgumentError("key_columns", list(self.key_columns or ()), expected)
        self.template.check_columns([*table.columns, *self.variables, ROW])

    def build(self, table: Table, parts: PartBuffer) -> None:
        """
        Add the request of each row to the parts.

        :raises PortkeyBatchInputInvalidError: naming the rows that cannot become requests, among them those whose
            ``custom_id`` is that of an earlier row.
        """
        self.check_columns(table)
        problems = Problems()
        number = 0
        with closing(IdIndex()) as ids, ExportProgress(f"requests of {table.name}") as progress:
            for number, row in enumerate(table.rows, 1):
                progress.add_rows(1)
                keys = self._keys(row)
                if empty := [name for name in self.key_columns or () if _is_null(keys[name])]:
                    problems.add(number, f"has no value in the key column {', '.join(map(repr, empty))}")
                    continue
                custom_id = self._custom_id(keys)
                ids.add(custom_id, number)
                if self.inline and not _INLINE_ID.fullmatch(custom_id):
                    problems.add(number, f"has the custom_id {shown(custom_id)}, which {_INLINE_RULE}")
                    continue
                try:
                    body = self.template.render({ROW: row, **self.variables, **row})
                except RowTemplateError as error:
                    problems.add(number, f"({shown(custom_id)}) {error}")
                    continue
                if "model" in body and _is_null(body["model"]):
                    problems.add(number, f"({shown(custom_id)}) has no model")
                    continue
                line = self._line(custom_id, body)
                if len(line) > self.max_bytes:
                    problems.add(
                        number,
                        f"({shown(custom_id)}) makes a request of {len(line)} bytes, more than {self.max_bytes}",
                    )
                elif not problems.bad:
                    parts.add(line, keys_line(custom_id, keys))
            for duplicate, first, custom_id in ids.duplicates():
                what = f"values in {self._named()}" if self.hashed else f"custom_id {shown(custom_id)}"
                problems.add(duplicate, f"has the {what} of row {first} again")
        problems.raise_any(table.name, number)

    def _keys(self, row: Row) -> Row:
        return row if self.key_columns is None else {name: row.get(name) for name in self.key_columns}

    def _custom_id(self, keys: Row) -> str:
        if not self.hashed:
            (value,) = keys.values()
            return value if isinstance(value, str) else strict_json(value)[0]
        return hashlib.blake2b(strict_json(keys)[0].encode(), digest_size=_HASH_BYTES).hexdigest()

    def _line(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        request: dict[str, Any] = {"custom_id": custom_id}
        if self.inline:
            request["params"] = body
        else:
            request.update(method="POST", url=self.endpoint, body=body)
        return strict_json(request)[0].encode() + b"\n"

    def _named(self) -> str:
        return "all columns" if self.key_columns is None else ", ".join(map(repr, self.key_columns))


def request_body(
    *,
    endpoint: str,
    model: str | None,
    messages: Any = None,
    input: Any = None,
    response_format: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Return the body of a request as its endpoint has it.

    :param messages: A string is the message of a user.
    :param response_format: In the form of chat completions; responses have it in ``text.format``.
    """
    body: dict[str, Any] = {**(extra_body or {})}
    if model is not None:
        body["model"] = model
    if messages is not None:
        body["messages"] = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    if input is not None:
        body["input"] = input
    if response_format is None:
        return body
    if endpoint.rstrip("/").endswith("/responses"):
        described = response_format.get("json_schema")
        flat = {name: value for name, value in response_format.items() if name != "json_schema"}
        text = body.get("text")
        own = text if isinstance(text, Mapping) else {}
        body["text"] = {**own, "format": {**flat, **described} if isinstance(described, Mapping) else flat}
    else:
        body["response_format"] = response_format
    return body


def make_builder(given: Any, *, rendered: bool) -> RequestBuilder:
    """
    Return the builder for the parameters of ``PortkeyBatchInputOperator``.

    :param given: Has the parameters as attributes.
    :param rendered: Whether Airflow has rendered its own templates.
    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
    """
    for one, other in (("rows_path", "rows"), ("messages", "input")):
        values = [getattr(given, name) for name in (one, other)]
        if sum(value is not None for value in values) != 1:
            raise PortkeyInvalidArgumentError(one, values[0], f"a value of either {one} or {other}")
    if given.input_mode not in ("file", "inline") and (rendered or not is_template(given.input_mode)):
        raise PortkeyInvalidArgumentError("input_mode", given.input_mode, "'file' or 'inline'")
    _check_request(given)
    body = request_body(
        endpoint=given.endpoint,
        model=given.model,
        messages=given.messages,
        input=given.input,
        response_format=given.response_format,
        extra_body=given.extra_body,
    )
    if not rendered:
        return RequestBuilder(template=RequestTemplate(body), endpoint=given.endpoint)
    keys = given.key_columns
    if (custom_id := given.custom_id or ("key" if keys and len(keys) == 1 else "hash")) == "key" and len(
        keys or ()
    ) != 1:
        raise PortkeyInvalidArgumentError("custom_id", custom_id, "'hash', or exactly one key column")
    return RequestBuilder(
        template=RequestTemplate(body),
        endpoint=given.endpoint,
        inline=given.input_mode == "inline",
        key_columns=keys,
        hashed=custom_id == "hash",
        variables=json_object("variables", given.variables) or {},
        max_bytes=min(given.max_file_bytes, MAX_LINE_BYTES),
    )


def _check_request(given: Any) -> None:
    """Check the shape of what becomes a request, before any row is read."""
    if given.extra_body is not None and not isinstance(given.extra_body, Mapping):
        raise PortkeyInvalidArgumentError("extra_body", given.extra_body, "a dict of fields of the body, or None")
    if given.model is not None and (not isinstance(given.model, str) or not given.model.strip()):
        raise PortkeyInvalidArgumentError("model", given.model, "the name of a model, a template of it, or None")
    for name in ("messages", "input"):
        value = getattr(given, name)
        filled = value.strip() if isinstance(value, str) else isinstance(value, list | tuple) and value
        if value is not None and not filled:
            raise PortkeyInvalidArgumentError(name, value, "a string or a list that is not empty")
    for number, message in enumerate(given.messages if isinstance(given.messages, list | tuple) else ()):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            expected = "a dict with a role, such as {'role': 'user', 'content': '{{ question }}'}"
            raise PortkeyInvalidArgumentError(f"messages[{number}]", message, expected)
    check_response_format(given.response_format)
    if given.key_columns is not None and not given.key_columns:
        raise PortkeyInvalidArgumentError("key_columns", given.key_columns, "one column or more, or None for all")


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
