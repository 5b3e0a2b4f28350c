"""Whether to retry a request, and when: decided here for both transports and for downloads."""

from __future__ import annotations

import logging
import math
import random
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenacity import RetryCallState

#: Seconds within which the attempts of a call begin; the last attempt still has its own time-outs.
CALL_BUDGET = 300.0
#: Seconds: the longest wait that a response can name.
RETRY_AFTER_CAP = 60.0
#: Seconds before the second attempt where the response named none; doubled for each further attempt.
BACKOFF_START = 0.5
#: Seconds between two attempts at most where the response named none.
BACKOFF_CAP = 8.0


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Return the seconds to wait that a response names, capped, or ``None`` where it names none.

    :param headers: Headers of the response, case-insensitive: ``retry-after-ms`` wins over ``Retry-After``, which is
        in seconds or an HTTP date.
    :param now: Epoch seconds.
    """
    seconds = _number(headers.get("retry-after-ms"), 1000.0)
    if seconds is None:
        seconds = _number(headers.get("retry-after"), 1.0)
    if seconds is None and (value := headers.get("retry-after")):
        try:
            date = parsedate_to_datetime(value)
            # Its older forms name no zone: an HTTP date is in GMT (RFC 9110, section 5.6.7).
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    if seconds is None:
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP)


def _number(value: str | None, divisor: float) -> float | None:
    try:
        seconds = float(value or "") / divisor
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def wait_before_retry(retry_after: float | None, attempt: int, jitter: float) -> float:
    """
    Return the seconds before the next attempt: ``retry_after``, or exponential backoff with jitter.

    :param retry_after: Seconds that the response named: never undercut, at most a tenth is added.
    :param attempt: Number of the failed attempt, from 1.
    :param jitter: From 0 to 1, so that a fleet of workers does not retry at the same time.
    """
    if retry_after is not None:
        return retry_after * (1 + jitter / 10)
    return min(BACKOFF_START * 2.0 ** (attempt - 1), BACKOFF_CAP) * (1 - jitter / 4)


def may_retry(error: BaseException, *, idempotent: bool) -> bool:
    """
    Return whether the same request may be sent again.

    Polls are not retried: ``polling/poller.py`` decides after each poll, and stops at an error that is not transient.

    :param error: Result of the failed attempt.
    :param idempotent: ``False`` for a POST, which is retried only where it cannot have taken effect.
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
            "Attempt %d of %d failed, next attempt in %.1f s: %s",
            state.attempt_number, max_retries + 1, state.upcoming_sleep, error,
        )  # fmt: skip

    return {
        "retry": tenacity.retry_if_exception(lambda error: may_retry(error, idempotent=idempotent)),
        "wait": wait,
        "stop": tenacity.stop_after_attempt(max_retries + 1) | tenacity.stop_before_delay(CALL_BUDGET),
        "before_sleep": report,
        "reraise": True,
    }
