from __future__ import annotations

import threading
from concurrent.futures import Future

from airflow_provider_portkey.client.stopping import StoppedError
from airflow_provider_portkey.export.worker_pool import WorkerPool


def test_after_the_block_no_thread_runs_and_nothing_new_begins() -> None:
    begun, stopped = threading.Event(), []

    def work() -> None:
        begun.set()
        try:
            while True:
                pool.check_running()
        except StoppedError:
            stopped.append(True)

    with WorkerPool(1) as pool:
        running: Future[None] = pool.start(work)
        queued = pool.start(lambda: stopped.append(False))
        begun.wait(60)

    assert running.done()
    assert queued.cancelled()
    assert stopped == [True]
    assert not [thread for thread in threading.enumerate() if "portkey-export" in thread.name]
