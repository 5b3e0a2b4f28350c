"""Ids become path segments, and can become nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

#: A segment that servers and gateways resolve, however it is quoted.
_DOT_SEGMENTS = frozenset({".", ".."})
_PLACEHOLDER = re.compile(r"{(\w+)}")


def expand_path(template: str, ids: Mapping[str, object]) -> str:
    """
    Fill the ids into a path such as ``/threads/{thread_id}/runs``, each quoted with nothing left safe.

    :raises PortkeyInvalidArgumentError: for an id that is no text, empty, ``.`` or ``..``.
    """
    return _PLACEHOLDER.sub(lambda match: quote(validate_id(match[1], ids[match[1]]), safe=""), template)


def validate_id(name: str, value: object) -> str:
    """
    Return an id as it is.

    :raises PortkeyInvalidArgumentError: for one that is no text, empty, ``.`` or ``..``.
    """
    if not isinstance(value, str) or not value.strip() or value in _DOT_SEGMENTS or not _is_utf8(value):
        raise PortkeyInvalidArgumentError(name, value, "a Portkey id, text that is neither empty nor '.' nor '..'")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
