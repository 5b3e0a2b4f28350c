"""When a deferred wait polls next: an interval after the poll was due, however late the response came."""

from __future__ import annotations

from airflow_provider_portkey.polling.wait_state import WaitState


def keep_phase(state: WaitState, due_at: float, now: float) -> WaitState:
    """
    Return the state with the next poll counted from when this one was due.

    Waits that are counted from their responses come together whenever the machine is slow, and stay together: a burst
    makes the next responses late, and so the next burst larger. Counted from the due times they stay as spread as they
    began, and neither the response time nor the lag of the event loop costs polls.

    :param state: As the poller left it after a poll that succeeded at ``now``, epoch seconds.
    :param due_at: When that poll was due, epoch seconds.
    """
    late, wait = now - due_at, state.next_poll_at - now
    # A poll before its time was another wait's, and one that was very late has lost its place.
    if state.failures or not 0 < late <= wait / 2 or state.next_poll_at >= state.deadline:
        return state
    return state.changed(next_poll_at=state.next_poll_at - late)
