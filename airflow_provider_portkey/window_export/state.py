"""The record of a window's export, kept where the exports of later windows find it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.exceptions import PortkeyExportConflictError
from airflow_provider_portkey.export.atomic import atomic_write
from airflow_provider_portkey.export.partition import MANIFEST, stamp, sweep
from airflow_provider_portkey.window_export.carry_over import WindowRecord

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_portkey.log_export.plan import Window

#: Readers of partitions pass over names that begin so.
_FOLDER = "_unfinished"


class RecordPlace:
    """
    Keep small JSON objects, one for the end of each window.

    They stand in the state store of the task's asset, where Airflow has one (3.3 and newer) and the task has exactly
    one asset among its inlets and outlets, and otherwise in small files beside the exports. Files of an Airflow that
    had no such store yet are still read.
    """

    def __init__(self, context: Context, folder: ObjectStoragePath) -> None:
        self._folder = folder / _FOLDER
        self._prefix = f"portkey_steps/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
        self._store: Any = context.get("asset_state_store")
        if self._store is not None:
            try:
                self._store.get(self._prefix)
            except ValueError:  # several assets, of which none is ours more than another
                self._store = None

    def read(self, moment: str) -> dict[str, Any] | None:
        """Return the object for the end of a window, or ``None``."""
        name = self._name(moment)
        if self._store is not None and (known := self._store.get(f"{self._prefix}/{name}")) is not None:
            return dict(known)
        path = cast("Any", self._folder / name)
        try:
            return dict(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (TypeError, ValueError) as error:
            raise PortkeyExportConflictError(f"{path} should be the record of an earlier export: {error}.") from None

    def write(self, moment: str, known: dict[str, Any]) -> None:
        """Keep an object in place of the one before."""
        name = self._name(moment)
        if self._store is not None:
            self._store.set(f"{self._prefix}/{name}", known)
            return
        with atomic_write(self._folder / name) as written:
            written.stream.write(json.dumps(known, sort_keys=True, ensure_ascii=False).encode() + b"\n")

    def sweep(self, moment: str) -> None:
        """Remove what a killed process has left of this object's file."""
        if self._store is None:
            sweep(self._folder, prefix=self._name(moment))

    def _name(self, moment: str) -> str:
        return f"window_end={stamp(datetime.fromisoformat(moment))}.json"


class WindowLedger:
    """
    Hold the record of one window for as long as its export goes on.

    :param folder: The window's own, where no other window that begins with it may have been exported.
    :raises PortkeyExportConflictError: where another export stands at the same place.
    """

    def __init__(
        self, place: RecordPlace, window: Window, folder: ObjectStoragePath, *, window_by: str, owner: str | None
    ) -> None:
        _check_folder(folder, window)
        self._place = place
        self._writer = uuid.uuid4().hex
        end = window.to_dict()["window_end"]
        place.sweep(end)
        record = self._read(end)
        if record is None:
            record = WindowRecord.begin(window, window_by, owner, self._read)
        record.check(window, window_by, owner)
        #: Whether something is known of what was exported before; without it nothing can be picked up.
        self.follows = record.look_again.get(record.window_start, ()) is not None
        record.owner = record.owner or owner
        record.writer = self._writer
        self.record = record
        self._write()

    def save(self) -> None:
        """
        Keep what was decided.

        :raises PortkeyExportConflictError: where another process has begun with the same window meanwhile.
        """
        self._fence()
        self._write()

    def close(self, failed: Iterable[str]) -> None:
        """Let later windows receive what this one leaves."""
        self._fence()
        self.record.close(failed)
        self._write()

    def _fence(self) -> None:
        known = self._read(self.record.window_end)
        if known is None or known.writer != self._writer:
            raise PortkeyExportConflictError(
                f"Another process has begun to export the window from {self.record.window_start} to "
                f"{self.record.window_end} to the same path. This one stops; nothing of it has to be undone."
            )

    def _read(self, moment: str) -> WindowRecord | None:
        known = self._place.read(moment)
        return None if known is None else WindowRecord.from_dict(known)

    def _write(self) -> None:
        self._place.write(self.record.window_end, self.record.to_dict())


def _check_folder(folder: ObjectStoragePath, window: Window) -> None:
    try:
        end = json.loads(cast("Any", folder / MANIFEST).read_bytes())["window_end"]
    except (FileNotFoundError, NotADirectoryError):
        return
    if end != window.to_dict()["window_end"]:
        raise PortkeyExportConflictError(
            f"{folder} has a window that ends at {end}, not at {window.to_dict()['window_end']}. Choose another path, "
            "or remove that export."
        )
