"""Path templates: an id fills one segment of a path and can become nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_portkey.validation import validate_id

_PLACEHOLDER = re.compile(r"{(\w+)}")


def expand_path(template: str, ids: Mapping[str, object]) -> str:
    """
    Return a path such as ``/threads/{thread_id}/runs`` with its ids, each percent-encoded without exceptions.

    :raises PortkeyInvalidArgumentError: for an id that is no string, empty, ``.`` or ``..``.
    """
    return _PLACEHOLDER.sub(lambda match: quote(validate_id(match[1], ids[match[1]]), safe=""), template)
