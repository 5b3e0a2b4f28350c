"""JSON schemas: checked themselves before they are used, then compared with the texts of responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.jsonl import refuse_constant

#: Characters of a problem that a table repeats.
_REASON_SHOWN = 500


class ResponseSchema:
    """
    A JSON schema that texts are compared with. References to other documents are never fetched.

    :param schema: The schema.
    :param field: The parameter that has the schema, for errors.
    :raises PortkeyInvalidArgumentError: where the schema is none.
    """

    def __init__(self, schema: object, *, field: str = "json_schema") -> None:
        from jsonschema import validators
        from jsonschema.exceptions import SchemaError
        from referencing.jsonschema import EMPTY_REGISTRY

        if not isinstance(schema, Mapping):
            raise PortkeyInvalidArgumentError(field, schema, "a JSON schema, as a mapping")
        kind = validators.validator_for(schema, default=validators.Draft202012Validator)
        try:
            kind.check_schema(dict(schema))
        except SchemaError as error:
            expected = f"a JSON schema: at {error.json_path} {error.message[:_REASON_SHOWN]}"
            raise PortkeyInvalidArgumentError(field, schema, expected) from None
        self._schema = schema
        self._field = field
        self._validator: Any = kind(dict(schema), registry=EMPTY_REGISTRY)

    def problem(self, value: Any) -> str | None:
        """
        Return how a value does not fit the schema, ``None`` where it fits.

        :raises PortkeyInvalidArgumentError: where the schema refers to what it does not have.
        """
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(self._validator.iter_errors(value))
        except Unresolvable as unresolved:
            expected = f"a JSON schema whose references are within the schema itself: {unresolved}"
            raise PortkeyInvalidArgumentError(self._field, self._schema, expected) from None
        return None if error is None else f"at {error.json_path}: {error.message}"[:_REASON_SHOWN]


def parse_text(text: str | None) -> tuple[Any, str | None]:
    """Return the value of a text that is JSON, and otherwise why it is none."""
    if text is None:
        return None, "the response has no text"
    try:
        return json.loads(text, parse_constant=refuse_constant), None
    except RecursionError:
        return None, "the text is nested too deeply"
    except ValueError as error:
        return None, f"the text is no JSON: {error}"


def check_response_format(response_format: object) -> None:
    """
    Check a ``response_format``, and the schema within one of the type ``json_schema``; ``None`` is none.

    :raises PortkeyInvalidArgumentError: where it has no type, or no schema.
    """
    if response_format is None:
        return
    if not isinstance(response_format, Mapping) or not isinstance(response_format.get("type"), str):
        expected = "a dict with a type, such as {'type': 'json_object'}, or None"
        raise PortkeyInvalidArgumentError("response_format", response_format, expected)
    if response_format["type"] != "json_schema":
        return
    described = response_format.get("json_schema", response_format)
    schema = described.get("schema") if isinstance(described, Mapping) else None
    ResponseSchema(schema, field="response_format")
