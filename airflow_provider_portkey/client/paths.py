"""Path templates: an id fills one segment of a path and can become nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.validation import json_object, validate_id

_PLACEHOLDER = re.compile(r"{(\w+)}")
#: What ``encodeURIComponent`` writes: its unreserved characters, and complete escapes.
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~!*'()]|%[0-9A-Fa-f]{2})+")
#: A decoded ARN, ``s3://`` or ``gs://`` address: it holds a reserved character, which an id is quoted for.
_ADDRESS = re.compile(r"[A-Za-z0-9][^\x00-\x1f\x7f]*[:/?#\[\]@$&+,;=][^\x00-\x1f\x7f]*")
_SEGMENT_ENDS = re.compile(r"[/\\]")


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
    Return a path such as ``/threads/{thread_id}/runs`` with its ids, each percent-encoded exactly once.

    :raises PortkeyInvalidArgumentError: for an id that is no string, empty, ``.`` or ``..``.
    """
    return _PLACEHOLDER.sub(lambda match: _segment(validate_id(match[1], ids[match[1]])), template)


def is_encoded(id_: str) -> bool:
    """
    Return whether an id arrived percent-encoded, as the gateway sends those of Bedrock and Vertex.

    Such an id is the complete encoding of UTF-8 text that begins with a letter or a digit, holds a reserved character
    and no control character, such as ``arn%3Aaws%3A...``. Text with a dot segment, at any depth of encoding, does not
    count: the gateway decodes what it receives, and another address would result.
    """
    if "%" not in id_ or not _ENCODED.fullmatch(id_):
        return False
    try:
        text = unquote(id_, errors="strict")
    except UnicodeDecodeError:
        return False
    return _ADDRESS.fullmatch(text) is not None and not _has_dot_segment(text)


def same_id(one: object, other: object) -> bool:
    """Return whether two values are the same id, percent-encoded or not."""
    return isinstance(one, str) and isinstance(other, str) and (one == other or unquote(one) == unquote(other))


def _segment(id_: str) -> str:
    return id_ if is_encoded(id_) else quote(id_, safe="")


def _has_dot_segment(text: str) -> bool:
    while True:
        if not {".", ".."}.isdisjoint(_SEGMENT_ENDS.split(text)):
            return True
        if (decoded := unquote(text)) == text:
            return False
        text = decoded
