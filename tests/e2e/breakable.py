"""An Airflow whose parts can be killed, and started again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil

from dev.processes import Child, free_ports
from dev.standalone import AIRFLOW, Standalone, component_of
from dev.steps import StepFailedError


class BreakableAirflow(Standalone):
    """``airflow standalone``, which restarts none of its parts, and the parts that were started beside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replacements: list[tuple[str, Child]] = []

    def kill(self, component: str) -> None:
        """
        Kill all processes of one part without a warning, as a crash of its machine would.

        :param component: As of :meth:`processes_of`.
        :raises LookupError: There is none.
        """
        found = self.processes_of(component)
        if not found:
            raise LookupError(f"no process of {component}")
        # The log server that the part started stays behind otherwise.
        family = {each for process in found for each in (process, *process.children(recursive=True))}
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_runs, family)):
            time.sleep(0.05)
        # Only now, for while it ends it still counts as running.
        self.expected.discard(component)

    def start_component(self, component: str) -> None:
        """Start one more process of a part."""
        # A second one of a kind needs a log server port of its own, in case the first is still there.
        ports = [str(port) for port in free_ports(2)]
        names = ("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT")
        env = {**self.env, **dict(zip(names, ports, strict=True))}
        log = self.folder / f"{component}-{len(self._replacements) + 2}.log"
        child = Child(
            f"Airflow's {component}", [AIRFLOW, component], log=log, env=env, cwd=self.folder, grace=self._grace
        )
        child.start()
        self._replacements.append((component, child))

    def processes_of(self, component: str) -> list[psutil.Process]:
        """As of any Airflow, with the parts that were started beside it."""
        more = [process for _, child in self._replacements for process in child.family()]
        return [*super().processes_of(component), *(each for each in more if component_of(each) == component)]

    def part_error(self, part: str, message: str) -> StepFailedError:
        """Return an error with the log of a part, of the process that was started last."""
        logs = [child.log for component, child in self._replacements if component == part]
        return StepFailedError(message, logs[-1]) if logs else super().part_error(part, message)

    def stop(self) -> None:
        """Stop everything."""
        for _, child in self._replacements:
            child.stop()
        super().stop()


def _runs(process: psutil.Process) -> bool:
    """Standalone does not wait for its children: one that was killed stays in the table as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
