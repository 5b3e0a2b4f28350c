"""Path templates: an id fills one segment of a path and can become nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.validation import json_object, validate_id

_PLACEHOLDER = re.compile(r"{(\w+)}")


def id_names(template: str) -> tuple[str, ...]:
    """Return the names of the ids in a path template, in their order."""
    return tuple(_PLACEHOLDER.findall(template))


def path_ids(template: str, ids: object) -> dict[str, str]:
    """
    Return the ids of a path template, given as a mapping or as its JSON.

    :raises PortkeyInvalidArgumentError: where an id is missing, or not in the template.
    """
    given = json_object("ids", ids) or {}
    if given.keys() != (names := dict.fromkeys(id_names(template))).keys():
        expected = f"one value for each of {', '.join(names)}" if names else f"none: {template} has no id"
        raise PortkeyInvalidArgumentError("ids", sorted(given), expected)
    return given


def expand_path(template: str, ids: Mapping[str, object]) -> str:
    """
    Return a path such as ``/threads/{thread_id}/runs`` with its ids, each percent-encoded without exceptions.

    :raises PortkeyInvalidArgumentError: for an id that is no string, empty, ``.`` or ``..``.
    """
    return _PLACEHOLDER.sub(lambda match: quote(validate_id(match[1], ids[match[1]]), safe=""), template)
