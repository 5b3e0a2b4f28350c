"""What a task has made, as ``extra`` of the events of its outlet assets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context


def describe_outlets(operator: BaseOperator, context: Context, about: Mapping[str, Any]) -> None:
    """
    Add fields to ``extra`` of the event of each outlet that is an asset; what is there already stays.

    :param about: The fields; lists are left out, so that the events stay small.
    """
    events: Any = context.get("outlet_events")
    if events is None or not operator.outlets:
        return
    from airflow.providers.common.compat.sdk import Asset

    fields = storable({name: value for name, value in about.items() if not isinstance(value, list)})
    for outlet in operator.outlets:
        if isinstance(outlet, Asset):  # an alias has no event of its own
            extra = events[outlet].extra
            extra.update({**fields, **extra})
