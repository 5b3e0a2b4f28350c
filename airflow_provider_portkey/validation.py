"""Which runs a task was given, in any of the forms in which a template or XCom hands over a list."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_portkey.client.paths import validate_id
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

_EXPECTED = "a list of run ids, or text with them: JSON, or ids divided by commas or line breaks"


def read_id_list(value: object) -> list[str] | None:
    """
    Return the ids in their order, each once; ``None`` for ``None``.

    :param value: A list or anything else that holds ids one by one, or a text: JSON, a list as Python writes it (a
        template that is no native object renders one so), or ids divided by commas or line breaks.
    :raises PortkeyInvalidArgumentError: for anything else, and for a text that holds no id: an empty list is no accident, a
        template that rendered to nothing is one.
    """
    if value is None:
        return None
    ids = _in_text(value) if isinstance(value, str) else value
    if isinstance(ids, Mapping) or not isinstance(ids, Iterable):
        raise PortkeyInvalidArgumentError("run_ids", value, _EXPECTED)
    return list(dict.fromkeys(validate_id("run_ids", run_id) for run_id in ids))


def read_list(text: str) -> Any:
    """
    Return what a text in brackets means: JSON, or what Python writes, which a template without ``| tojson`` gives.

    :raises ValueError: where it means neither.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise ValueError("neither JSON nor Python")


def _in_text(text: str) -> Any:
    stripped = text.strip()
    if stripped.startswith("["):
        with contextlib.suppress(ValueError):
            return read_list(stripped)
    elif stripped and stripped[0] not in "{(\"'" and stripped != "None":
        return [part.strip() for part in re.split(r"[,\n]", stripped) if part.strip()]
    raise PortkeyInvalidArgumentError("run_ids", text, _EXPECTED)
