"""Waiting for an uploaded file until the provider has processed it, as Azure does before a batch can be created."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRemoteJobNotFinishedError, PortkeyRequestError
from airflow_provider_portkey.jobs.batch import FILE
from airflow_provider_portkey.polling.drivers import drive
from airflow_provider_portkey.polling.events import TIMED_OUT, conclude
from airflow_provider_portkey.polling.poller import Poller
from airflow_provider_portkey.polling.wait_state import WaitState

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)

#: Seconds of one try; the next try continues with the same upload.
_TIMEOUT = 600.0
#: Seconds between two polls.
_POLL_INTERVAL = 5.0


def is_processing(file: Mapping[str, Any]) -> bool:
    """Return whether a file has to be waited for; a provider need not name a status."""
    return isinstance(status := file.get("status"), str) and status in FILE.active_statuses


def await_processed(hook: PortkeyHook, file: Mapping[str, Any]) -> None:
    """
    Wait until a file is processed.

    :param file: The file object of the upload.
    :raises PortkeyRemoteJobFailedError: with the provider's reason, where the file could not be processed.
    :raises PortkeyRemoteJobNotFinishedError: where the file is not processed in time.
    """
    now = time.time()
    state = WaitState(started_at=now, deadline=now + _TIMEOUT, poll_interval=_POLL_INTERVAL)
    poller = Poller(FILE, {"file_id": str(file["id"])}, state)
    outcome = poller.on_response(file, now)
    outcome.log_to(log)
    while outcome.event is None:
        time.sleep(outcome.wait)
        now = time.time()
        try:
            # One attempt a request: the poller decides whether and when to poll again.
            response = drive(poller.requests(now), partial(hook.get_conn().get, max_retries=0))
        except PortkeyRequestError as error:
            outcome = poller.on_failure(error, now)
        else:
            outcome = poller.on_response(response, now)
        outcome.log_to(log)
    if outcome.event["reason"] == TIMED_OUT:
        raise PortkeyRemoteJobNotFinishedError(outcome.event["message"])
    conclude(FILE, outcome.event)
