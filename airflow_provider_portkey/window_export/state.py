"""The record of a window's export, kept where the exports of later windows find it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.exceptions import PortkeyExportConflictError
from airflow_provider_portkey.export.atomic import atomic_write
from airflow_provider_portkey.export.partition import MANIFEST, stamp, sweep
from airflow_provider_portkey.json_values import strict_json
from airflow_provider_portkey.state.asset import TaskAssetState
from airflow_provider_portkey.window_export.carry_over import CarryOver, WindowRecord
from airflow_provider_portkey.window_export.journal import Journal

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.window_export.runs import RunSummary

#: The folder of the records beside the windows; readers of partitions ignore its name.
_FOLDER = "_unfinished"
#: Decisions that are saved together at most: some 8 KB where a thread has one run that has not ended.
_MAX_UNSAVED = 64


class FileState:
    """
    Keeps JSON objects in the files of a folder.

    :param folder: The files are named by key.
    """

    def __init__(self, folder: ObjectStoragePath) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, Any] | None:
        """
        Return the object of a key, ``None`` where there is none.

        :raises PortkeyExportConflictError: where the file holds no JSON object.
        """
        path = cast("Any", self._folder / key)
        try:
            return dict(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (TypeError, ValueError) as error:
            raise PortkeyExportConflictError(f"{path} should be the record of an earlier export: {error}.") from None

    def write(self, key: str, value: dict[str, Any]) -> None:
        """Write the object of a key in place of the earlier one."""
        with atomic_write(self._folder / key) as written:
            written.stream.write(strict_json(value)[0].encode() + b"\n")

    def remove(self, key: str) -> None:
        """Remove the file of a key, if there is one."""
        path = cast("Any", self._folder / key)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.fs.rm_file(path.path)


class Records:
    """
    The records of the windows of a folder.

    :param base: The folder of all windows.
    """

    def __init__(self, context: Context, base: ObjectStoragePath) -> None:
        prefix = f"portkey_steps/{hashlib.sha256(str(base).encode()).hexdigest()[:16]}"
        self._store = TaskAssetState(context, prefix=prefix, fallback=FileState(base / _FOLDER))

    def read(self, end: str) -> WindowRecord | None:
        """Return the record of the window with this end as it was last written whole."""
        known = self._store.read(f"{_key(end)}.json")
        return None if known is None else WindowRecord.from_dict(known)

    def read_with_journal(self, end: str) -> WindowRecord | None:
        """Return the record with all decisions that are saved."""
        record = self.read(end)
        if record:
            record.apply(self.journal(end).read())
        return record

    def read_closed(self, end: str) -> WindowRecord | None:
        """Return what later windows take runs from."""
        record = self.read(end)
        # Only about undecided threads a later export of that window may have decided since it was closed.
        return self.read_with_journal(end) if record and record.undecided else record

    def write(self, record: WindowRecord) -> None:
        """Write a record whole."""
        self._store.write(f"{_key(record.window_end)}.json", record.to_dict())

    def journal(self, end: str) -> Journal:
        """Return the journal of the window with this end."""
        return Journal(self._store, _key(end))


class WindowState:
    """
    The record of one window, during its export.

    :param base: The folder of all windows.
    :param folder: The folder of this window.
    :raises PortkeyExportConflictError: where the folder or the record belongs to another export.
    """

    def __init__(
        self, context: Context, base: ObjectStoragePath, folder: ObjectStoragePath, window: Window, window_by: str
    ) -> None:
        _check_folder(folder, window)
        self._records = Records(context, base)
        owner = _owner(context.get("ti"))
        end = window.to_dict()["window_end"]
        sweep(base / _FOLDER, name=_key(end))
        known = self._records.read(end)
        record = known or WindowRecord.create(window, window_by, owner, self._records.read_closed)
        record.check(window, window_by, owner)
        self._journal = self._records.journal(end)
        record.apply(self._journal.claim())
        #: Whether the window before this one is known; without it nothing can be carried over from there.
        self.follows_another = record.pending.get(record.window_start, ()) is not None
        self.record = record
        self._unsaved: dict[str, CarryOver] = {}
        if known is None or (owner and not record.owner):
            record.owner = owner
            self._records.write(record)

    def decide(
        self, thread_id: str, runs: Iterable[RunSummary], carried_in: Iterable[RunSummary], on_unfinished: str
    ) -> tuple[CarryOver, list[RunSummary]]:
        """
        Decide which runs of a thread are exported now: :meth:`.WindowRecord.decide`.

        :return: The carry-over, and the runs to export in their order.
        """
        carry_over, exported, is_new = self.record.decide(thread_id, runs, carried_in, on_unfinished)
        if is_new:
            self._unsaved[thread_id] = carry_over
            if len(self._unsaved) >= _MAX_UNSAVED:
                self.save()
        return carry_over, exported

    def save_before(self, thread_id: str) -> None:
        """Save the decision about a thread, with all others so far, unless it is saved: before its files are there."""
        if thread_id in self._unsaved:
            self.save()

    def save(self) -> None:
        """
        Save the decisions that are not saved yet.

        :raises PortkeyExportConflictError: where another process has begun to export this window meanwhile.
        """
        if self._unsaved:
            self._journal.add({thread_id: asdict(carry_over) for thread_id, carry_over in self._unsaved.items()})
            self._unsaved.clear()

    def close(self, failed: Iterable[str]) -> None:
        """
        Let later windows take what this one carries over.

        :raises PortkeyExportConflictError: where another process has begun to export this window meanwhile.
        """
        self.save()
        self._journal.check()
        if self.record.close(failed) or not self._journal.is_empty:
            self._records.write(self.record)
        self._journal.remove()


def _key(end: str) -> str:
    return f"window_end={stamp(datetime.fromisoformat(end))}"


def _owner(ti: Any) -> str | None:
    if not hasattr(ti, "task_id"):
        return None
    mapped = f"[{ti.map_index}]" if getattr(ti, "map_index", -1) not in (None, -1) else ""
    return f"{ti.dag_id}.{ti.task_id}{mapped}"


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
