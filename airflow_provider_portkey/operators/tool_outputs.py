"""Handing the outputs of tools to a run, once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyBadRequestError, PortkeyRequestError
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.operators.tool_calls import awaited

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: How often outputs are sent at the most, where nobody knows what became of them and the run still waits for them.
_SENT_AT_MOST = 3
#: Seconds before they are sent again.
_PAUSE = 2.0


def hand_in(
    hook: PortkeyHook, ids: Mapping[str, str], outputs: Sequence[Mapping[str, str]], log: Any
) -> dict[str, Any]:
    """
    Send the outputs of all calls that a run waits for, and return the run.

    Where sending broke off, and where it was refused, the run itself says whether it still waits for them: if it has
    moved on, that is how it is.

    :raises PortkeyRequestError: where they were refused, or where nobody knows, and the run waits for them still.
    """
    calls = {output["tool_call_id"] for output in outputs}
    sent = 0
    while True:
        sent += 1
        try:
            return hook.submit_tool_outputs(ids["thread_id"], ids["run_id"], outputs)
        except PortkeyRequestError as error:
            refused = error.safe_to_retry
            if refused and not isinstance(error, PortkeyBadRequestError):
                raise
            run = hook.get_job(RUN, ids)
            if not calls & awaited(run):
                log.info("%s waits for these outputs no longer.", RUN.describe(ids))
                return run
            if refused or sent >= _SENT_AT_MOST:
                raise
            log.warning(
                "%s still waits for the outputs that were sent; sending them again: %s", RUN.describe(ids), error
            )
            time.sleep(_PAUSE)
