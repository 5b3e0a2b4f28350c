"""Rules for values that users give: numbers, choices, booleans, ids. A rule returns the value to use."""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.json_values import storable

#: Takes a parameter's name and value; returns the value to use, or raises ``PortkeyInvalidArgumentError``.
Rule = Callable[[str, Any], Any]

#: Segments that servers and gateways resolve, however they are quoted.
_DOT_SEGMENTS = frozenset({".", ".."})


def one_of(*choices: str, optional: bool = False) -> Rule:
    """Return the rule for one of several strings."""
    expected = f"one of {', '.join(map(repr, choices))}{' or None' if optional else ''}"

    def rule(field: str, value: Any) -> Any:
        value = _rendered_none(value) if optional else value
        if (value is None and optional) or (isinstance(value, str) and value in choices):
            return value
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def some_of(*choices: str) -> Rule:
    """Return the rule for a list of one or more of several strings."""
    expected = f"a list of {', '.join(map(repr, choices))}"

    def rule(field: str, value: Any) -> Any:
        names = name_list(field, value)
        if names and all(name in choices for name in names):
            return names
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def whole_number(minimum: int, maximum: int | None = None, *, optional: bool = False) -> Rule:
    """Return the rule for an integer, which is no boolean, within bounds."""
    expected = f"a whole number {_bounds(minimum, maximum)}{' or None' if optional else ''}"

    def rule(field: str, value: Any) -> Any:
        number = _number(value, int, optional=optional)
        if number is None and optional:
            return None
        if type(number) is int and minimum <= number and (maximum is None or number <= maximum):
            return number
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def real_number(
    minimum: float = -math.inf,
    maximum: float | None = None,
    *,
    unit: str = "",
    above: bool = False,
    optional: bool = False,
) -> Rule:
    """Return the rule for a finite number, which is no boolean, within bounds; ``above`` leaves the minimum out."""
    bounds = f" above {minimum:g}" if above else f" {_bounds(minimum, maximum)}" if minimum > -math.inf else ""
    expected = f"a number{unit and ' of ' + unit}{bounds}{' or None' if optional else ''}"

    def rule(field: str, value: Any) -> Any:
        number = _number(value, float, optional=optional)
        if number is None and optional:
            return None
        if type(number) in (int, float) and math.isfinite(number) and (maximum is None or number <= maximum):
            within = number > minimum if above else number >= minimum
            if within:
                return number
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def boolean(field: str, value: Any) -> bool:
    """Return a boolean; a template renders one as ``"True"`` or ``"true"``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise PortkeyInvalidArgumentError(field, value, "True or False")


def json_object(field: str, value: object) -> dict[str, Any] | None:
    """Return an object that is given as a mapping or as a JSON string, ``None`` for ``None``."""
    parsed = _parsed(value)
    if parsed is None or isinstance(parsed, Mapping):
        return None if parsed is None else dict(parsed)
    raise PortkeyInvalidArgumentError(field, value, "a dict, a JSON string with an object, or None")


def json_array(field: str, value: object) -> list[Any] | None:
    """Return a list that is given as such or as a JSON string, ``None`` for ``None``."""
    parsed = _parsed(value)
    if parsed is None or isinstance(parsed, list | tuple):
        return None if parsed is None else list(parsed)
    raise PortkeyInvalidArgumentError(field, value, "a list, a JSON string with an array, or None")


def text(field: str, value: Any) -> str | None:
    """
    Return a string; a number is what ``render_template_as_native_obj`` made of one, and becomes a string again.

    ``None`` stays: whether it is allowed is checked where the value is used.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise PortkeyInvalidArgumentError(field, value, f"a string{_NATIVE}")


def connection_id(*, optional: bool = False) -> Rule:
    """Return the rule for the id of an Airflow connection: a string that is not empty; digits become one again."""
    expected = f"the id of an Airflow connection{' or None' if optional else ''}{_NATIVE}"

    def rule(field: str, value: Any) -> Any:
        value = _rendered_none(value) if optional else value
        if value is None and optional:
            return None
        if (isinstance(value, str) and value.strip()) or type(value) is int:
            return str(value)
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def url_path(*, optional: bool = False) -> Rule:
    """Return the rule for the path of an endpoint, which begins with a slash."""
    expected = f"a path such as '/v1/chat/completions'{' or None' if optional else ''}"

    def rule(field: str, value: Any) -> Any:
        value = _rendered_none(value) if optional else value
        if (value is None and optional) or (isinstance(value, str) and re.fullmatch(r"/[!-~]*[!-.0-~]", value)):
            return value
        raise PortkeyInvalidArgumentError(field, value, expected)

    return rule


def path_text(field: str, value: Any) -> str | None:
    """Return a path as a string, also where it is a path object."""
    if isinstance(value, os.PathLike) or hasattr(value, "protocol"):
        return str(value)
    return text(field, value)


def identifier(field: str, value: Any) -> str | None:
    """Return an id as a string, also where native rendering made an integer of its digits."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise PortkeyInvalidArgumentError(field, value, f"an id{_NATIVE}")


def texts_by_name(field: str, value: Any) -> Any:
    """Return a mapping with strings in place of numbers, or a JSON string or ``None`` as it is."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise PortkeyInvalidArgumentError(field, value, "a dict, a JSON string with an object, or None")
    if wrong := [name for name, entry in value.items() if isinstance(entry, Mapping | list | tuple | set)]:
        expected = f"a dict of strings, unlike {', '.join(map(repr, wrong))}"
        raise PortkeyInvalidArgumentError(field, value, expected)
    if not any(isinstance(part, int | float) for pair in value.items() for part in pair):
        return value
    return {_text_of(name): _text_of(entry) for name, entry in value.items()}


def prompt(field: str, value: Any) -> Any:
    """Return a string or messages; a content that native rendering made a number of becomes a string again."""
    if isinstance(value, Mapping):
        return {**value, "messages": prompt(field, value["messages"])} if "messages" in value else value
    if not isinstance(value, list):
        return text(field, value)
    return [
        {**one, "content": _text_of(one["content"])} if isinstance(one, Mapping) and "content" in one else one
        for one in value
    ]


def name_list(field: str, value: Any) -> Any:
    """Return names in any form that a template or XCom gives a list, as :func:`iter_ids`; ``None`` for ``None``."""
    value = _rendered_none(value)
    return field_names(field, _split_list(field, value, _NAMES) if isinstance(value, str) else value)


def field_names(field: str, value: Any) -> Any:
    """Return a list of names, ``None`` for ``None``."""
    if value is None or (isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value)):
        return value
    raise PortkeyInvalidArgumentError(field, value, "a list of field names or None")


def group_name(field: str, value: Any) -> str | None:
    """Return the name of a group of Portkey's analytics, ``None`` for ``None``."""
    value = _rendered_none(value)
    prefix, separator, key = value.partition(".") if isinstance(value, str) else ("", "", "")
    named = key.strip() == key and key not in ("", *_DOT_SEGMENTS) and _is_storable(key)
    if value is None or value in ("model", "provider", "user") or (prefix == "metadata" and separator and named):
        return value  # type: ignore[no-any-return]
    expected = "None, 'model', 'provider', 'user', or 'metadata.' and a key, such as 'metadata.team'"
    raise PortkeyInvalidArgumentError(field, value, expected)


def validate_id(field: str, value: object) -> str:
    """
    Return an id as it is.

    :raises PortkeyInvalidArgumentError: for one that is no string, empty, ``.``, ``..`` or ``None``.
    """
    if value == "None":
        raise PortkeyInvalidArgumentError(field, value, f"a Portkey id; {_RENDERED_TO_NOTHING}")
    if not isinstance(value, str) or not value.strip() or value in _DOT_SEGMENTS or not _is_storable(value):
        raise PortkeyInvalidArgumentError(field, value, "a Portkey id, a string that is not empty, '.' or '..'")
    return value


def iter_ids(field: str, value: object) -> Iterable[str]:
    """
    Return an iterable over ids, each checked as it is taken, in any form that a template or XCom gives a list.

    :param value: An iterable of ids; or a string: JSON, a list as Python writes it (what a template renders without
        ``| tojson``), or ids separated by commas or white space.
    :raises PortkeyInvalidArgumentError: for anything else, and for a string without an id: an empty list may be meant,
        a template that rendered to nothing is a mistake.
    """
    ids = _split_list(field, value, _IDS) if isinstance(value, str) else [value] if type(value) is int else value
    if isinstance(ids, bytes | Mapping) or not isinstance(ids, Iterable):
        raise PortkeyInvalidArgumentError(field, value, _IDS)
    named = ((f"{field}[{number}]", one) for number, one in enumerate(ids))
    return (validate_id(name, identifier(name, one)) for name, one in named)


def read_ids(field: str, value: object) -> list[str] | None:
    """Return the ids of :func:`iter_ids` in their order, each once; ``None`` for ``None``."""
    return None if value is None else list(dict.fromkeys(iter_ids(field, value)))


#: Ends the sentence about a value that is no string.
_NATIVE = "; with render_template_as_native_obj=True, '{{ ... | tojson }}' keeps a string as it is"
_RENDERED_TO_NOTHING = "the template seems to have rendered to nothing"
_IDS = "a list of ids, or a string with them: JSON, or ids separated by commas or white space"
_NAMES = "a list of field names, or a string with them: JSON, or names separated by commas or white space"


def _split_list(field: str, value: str, expected: str) -> Any:
    stripped = value.strip()
    if stripped.startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(stripped)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    elif stripped and stripped[0] not in "{(\"'" and stripped != "None":
        return [part for part in re.split(r"[,\s]+", stripped) if part]
    if stripped in ("", "None"):
        expected = f"{expected}; {_RENDERED_TO_NOTHING}"
    raise PortkeyInvalidArgumentError(field, value[:100], expected)


def _text_of(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) else value


def _parsed(value: object) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value


def _number(value: Any, kind: type[int] | type[float], *, optional: bool) -> Any:
    """Return a number that a template rendered as a string; anything else as it is."""
    if not isinstance(value, str):
        return value
    if optional and _rendered_none(value) is None:
        return None
    try:
        return kind(value)
    except ValueError:
        return value


def _rendered_none(value: Any) -> Any:
    return None if value == "None" else value


def _bounds(minimum: float, maximum: float | None) -> str:
    return f"of at least {minimum:g}" if maximum is None else f"from {minimum:g} to {maximum:g}"


def _is_storable(value: str) -> bool:
    """Return whether Airflow can store a string, and a URL can hold it: U+0000 and half of a surrogate pair cannot."""
    return bool(storable(value) == value)


def is_utf8(text: str) -> bool:
    """Return whether a string can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
