"""What a task read and wrote, told to Airflow's lineage API; it knows neither Portkey nor tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

log = logging.getLogger(__name__)


def report(context: Any, *, inputs: Iterable[str] = (), outputs: Iterable[str] = ()) -> None:
    """
    Tell what was read and written where Airflow cannot see it: ``ObjectStoragePath`` reports what goes through itself.

    :param context: The hook or the path that it was done with.
    :param inputs: URIs.
    :param outputs: URIs.
    """
    for add, uris in (("add_input_asset", inputs), ("add_output_asset", outputs)):
        for uri in uris:
            _report(add, context, uri)


def _report(add: str, context: Any, uri: str) -> None:
    from airflow.providers.common.compat.lineage import hook as lineage

    collector: Any = lineage.get_hook_lineage_collector  # untyped
    try:
        getattr(collector(), add)(context=context, uri=uri)
    except Exception as error:  # nothing that is wrong with lineage is worth failing a task that has done its work
        log.warning("%s is missing from the lineage: %s", uri, error)
