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
from airflow_provider_portkey.json_values import strict_json
from airflow_provider_portkey.state.asset import TaskAssetState
from airflow_provider_portkey.window_export.carry_over import WindowRecord

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_portkey.export.window import Window

#: The folder of the records beside the windows; readers of partitions ignore its name.
_FOLDER = "_unfinished"


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
        prefix = f"portkey_steps/{hashlib.sha256(str(base).encode()).hexdigest()[:16]}"
        self._store = TaskAssetState(context, prefix=prefix, fallback=FileState(base / _FOLDER))
        self._writer = uuid.uuid4().hex
        owner = _owner(context.get("ti"))
        end = window.to_dict()["window_end"]
        sweep(base / _FOLDER, name=_key(end))
        record = self._read(end)
        if record is None:
            record = WindowRecord.create(window, window_by, owner, self._read)
        record.check(window, window_by, owner)
        #: Whether the window before this one is known; without it nothing can be carried over from there.
        self.follows_another = record.pending.get(record.window_start, ()) is not None
        record.owner = record.owner or owner
        record.writer = self._writer
        self.record = record
        self._write()

    def save(self) -> None:
        """
        Save the decisions.

        :raises PortkeyExportConflictError: where another process has begun to export this window meanwhile.
        """
        self._check_writer()
        self._write()

    def close(self, failed: Iterable[str]) -> None:
        """Let later windows take what this one carries over."""
        self._check_writer()
        self.record.close(failed)
        self._write()

    def _check_writer(self) -> None:
        known = self._read(self.record.window_end)
        if known is None or known.writer != self._writer:
            raise PortkeyExportConflictError(
                f"Another process has begun to export the window from {self.record.window_start} to "
                f"{self.record.window_end} to the same path. This process stops; nothing has to be undone."
            )

    def _read(self, end: str) -> WindowRecord | None:
        known = self._store.read(_key(end))
        return None if known is None else WindowRecord.from_dict(known)

    def _write(self) -> None:
        self._store.write(_key(self.record.window_end), self.record.to_dict())


def _key(end: str) -> str:
    return f"window_end={stamp(datetime.fromisoformat(end))}.json"


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
