"""Whether to try again, and when: decided here once, for workers and for the event loop."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenacity import RetryCallState

#: Seconds within which the tries of a call begin; the last one still has its own time-outs.
CALL_BUDGET = 300.0
#: Seconds: an answer that asks for more is tried again after this long all the same.
RETRY_AFTER_CAP = 60.0
#: Seconds before the second try where the answer named none; doubled for each one after it.
BACKOFF_START = 0.5
#: Seconds between two tries where the answer named none.
BACKOFF_CAP = 8.0


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Return the seconds that an answer asks to wait, capped, or ``None`` where it does not ask.

    :param headers: Of the answer, looked up without regard to case: ``retry-after-ms`` wins over
        ``Retry-After``, which is in seconds or an HTTP date.
    :param now: Epoch seconds.
    """
    seconds = _number(headers.get("retry-after-ms"), 1000.0)
    if seconds is None:
        seconds = _number(headers.get("retry-after"), 1.0)
    if seconds is None and (text := headers.get("retry-after")):
        try:
            moment = parsedate_to_datetime(text)
            # Its older forms name no zone: an HTTP date is in GMT (RFC 9110, section 5.6.7).
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    if seconds is None:
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP)


def _number(text: str | None, divisor: float) -> float | None:
    try:
        seconds = float(text or "") / divisor
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def wait_before_retry(retry_after: float | None, attempt: int, jitter: float) -> float:
    """
    Return the seconds to wait before the next try.

    :param retry_after: What the answer asked for: never undercut, at most a tenth is added.
    :param attempt: The number of the try that failed, from 1.
    :param jitter: From 0 to 1, so that a fleet of workers does not come back at once.
    """
    if retry_after is not None:
        return retry_after * (1 + jitter / 10)
    return min(BACKOFF_START * 2.0 ** (attempt - 1), BACKOFF_CAP) * (1 - jitter / 4)


def may_retry(error: BaseException, *, idempotent: bool) -> bool:
    """
    Return whether the same request may be sent again.

    :param error: What came of it.
    :param idempotent: False for a POST, which is sent again only where it was surely not carried out.
    """
    if not isinstance(error, PortkeyRequestError) or not error.transient:
        return False
    return idempotent or error.safe_to_retry


def retry_arguments(*, max_retries: int, idempotent: bool, log: logging.Logger) -> dict[str, Any]:
    """Return the arguments for ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``."""
    import tenacity

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, PortkeyRequestError) else None
        return wait_before_retry(retry_after, state.attempt_number, random.random())  # noqa: S311

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "Try %d of %d failed, trying again in %.1f s: %s",
            state.attempt_number, max_retries + 1, state.upcoming_sleep, error,
        )  # fmt: skip

    return {
        "retry": tenacity.retry_if_exception(_retries(idempotent)),
        "wait": wait,
        "stop": tenacity.stop_after_attempt(max_retries + 1) | tenacity.stop_before_delay(CALL_BUDGET),
        "before_sleep": report,
        "reraise": True,
    }


def _retries(idempotent: bool) -> Callable[[BaseException], bool]:
    return lambda error: may_retry(error, idempotent=idempotent)
