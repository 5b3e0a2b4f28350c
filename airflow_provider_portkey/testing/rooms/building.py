"""All rooms together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.testing.calls import Endpoint
from airflow_provider_portkey.testing.rooms.batches import Batches
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.rooms.file_batches import FileBatches
from airflow_provider_portkey.testing.rooms.files import Files
from airflow_provider_portkey.testing.rooms.fine_tuning import FineTuningJobs
from airflow_provider_portkey.testing.rooms.log_export_routes import LogExportRoutes
from airflow_provider_portkey.testing.rooms.log_exports import LogExports
from airflow_provider_portkey.testing.rooms.responses import Responses


class Building:
    """Every room, what is answered there, and what another process may do there.

    :param desk: what the rooms share.
    :param origin: tells the URL of the mock server, without a path.
    """

    def __init__(self, desk: Desk, *, origin: Callable[[], str]) -> None:
        self.desk = desk
        self.responses = Responses(desk)
        self.files = Files(desk)
        self.batches = Batches(desk, self.files)
        self.log_exports = LogExports(desk)
        self.fine_tuning_jobs = FineTuningJobs(desk)
        self.file_batches = FileBatches(desk)
        self._log_export_routes = LogExportRoutes(desk, self.log_exports, origin=origin)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint below ``/v1``: its method, its path and what answers it."""
        yield from self.responses.table()
        yield from self.files.table()
        yield from self.batches.table()
        yield from self._log_export_routes.table()
        yield from self.fine_tuning_jobs.table()
        yield from self.file_batches.table()

    def storage_table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint of the storage that signed URLs lead to."""
        yield from self._log_export_routes.storage_table()

    def actions(self) -> dict[str, Callable[..., Any]]:
        """Name what ``POST /_mock_server/<name>`` does."""
        return {
            "plans": self.desk.plan,
            "responses": self.responses.add,
            "files": self.files.add,
            "batches": self.batches.add,
            "logs": self.log_exports.add_logs,
            "log_exports": self.log_exports.add,
            "log_export_settings": self.log_exports.settings,
            "fine_tuning_jobs": self.fine_tuning_jobs.add,
            "file_batches": self.file_batches.add,
        }
