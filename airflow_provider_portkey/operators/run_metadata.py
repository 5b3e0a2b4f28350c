"""The metadata of a run: its limits, and the pair that the operator adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.idempotency import IDEMPOTENCY_KEY, refuse_idempotency_key

#: What a run's metadata may hold: pairs, characters of a key, characters of a value (Portkey's schema).
_MAX_PAIRS, _MAX_KEY_LENGTH, _MAX_VALUE_LENGTH = 16, 64, 512


def with_idempotency_key(metadata: Mapping[str, Any], idempotency_key: str) -> dict[str, str]:
    """
    Return a user's metadata with the operator's pair.

    :raises PortkeyInvalidArgumentError: for metadata that Portkey would refuse.
    """
    refuse_idempotency_key(metadata)
    if len(metadata) >= _MAX_PAIRS:
        expected = f"at most {_MAX_PAIRS - 1} pairs: the operator adds one"
        raise PortkeyInvalidArgumentError("metadata", metadata, expected)
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY_LENGTH:
            expected = f"keys that are strings of at most {_MAX_KEY_LENGTH} characters"
            raise PortkeyInvalidArgumentError("metadata", key, expected)
        if not isinstance(value, str) or len(value) > _MAX_VALUE_LENGTH:
            expected = f"values that are strings of at most {_MAX_VALUE_LENGTH} characters"
            raise PortkeyInvalidArgumentError(f"metadata[{key!r}]", value, expected)
    return {**metadata, IDEMPOTENCY_KEY: idempotency_key}
