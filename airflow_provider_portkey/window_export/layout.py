"""The folders of a window: steps alone, or steps and runs side by side, each a data set of its own for readers."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_portkey.exceptions import PortkeyExportConflictError
from airflow_provider_portkey.export.partition import MANIFEST, check_folder_writable, keep_only, stamp, sweep
from airflow_provider_portkey.export.writer import open_writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.formats import Columns
    from airflow_provider_portkey.export.progress import ExportProgress
    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.export.writer import RowWriter
    from airflow_provider_portkey.window_export.thread_ids import ThreadIndex

#: The two kinds of files, and the names of their folders where both are written.
STEPS, RUNS = "steps", "runs"


@dataclass(frozen=True)
class WindowFolders:
    """
    The folders of one window; made by :func:`window_folders`.

    :param steps: The files with steps.
    :param runs: The files with runs, ``None`` where no runs are written.
    """

    steps: ObjectStoragePath
    runs: ObjectStoragePath | None

    @property
    def kinds(self) -> list[str]:
        """The kinds of files that are written."""
        return [kind for kind, _ in self._all()]

    def check_writable(self) -> None:
        """
        Check that files can be written, before anything is requested.

        :raises PortkeyError: naming the folder that cannot be written.
        """
        for _, folder in self._all():
            check_folder_writable(folder)

    def sweep(self) -> None:
        """Remove the temporary files of killed processes."""
        for _, folder in self._all():
            sweep(folder)

    def keep_only(self, index: ThreadIndex) -> None:
        """Remove files of earlier exports of this window that are not part of this one."""
        for kind, folder in self._all():
            keep_only(folder, lambda name, kind=kind: index.has_file(kind, name))  # type: ignore[misc]

    def manifests(self) -> Iterator[ObjectStoragePath]:
        """Yield the paths of the manifest; the last one says that the whole window is complete."""
        for _, folder in self._all():
            yield folder / MANIFEST

    @contextmanager
    def open_files(
        self,
        name: str,
        columns: Mapping[str, Columns],
        *,
        file_format: str,
        compression: str | None,
        csv_formulas: str,
        progress: ExportProgress,
    ) -> Iterator[dict[str, RowWriter]]:
        """
        Write the files of a thread, by kind; they are at their paths after the block, unless the block raised.

        :param name: Of each of the files. A file without rows is not written.
        :param columns: By kind.
        :param progress: Of the whole window.
        """
        with ExitStack() as opened:
            yield {
                kind: opened.enter_context(
                    open_writer(
                        folder / name,
                        columns=columns[kind],
                        file_format=file_format,
                        compression=compression,
                        csv_formulas=csv_formulas,
                        skip_empty=True,
                        progress=progress,
                    )
                )
                for kind, folder in self._all()
            }

    def _all(self) -> Iterator[tuple[str, ObjectStoragePath]]:
        if self.runs is not None:
            yield RUNS, self.runs
        yield STEPS, self.steps


def window_folders(base: ObjectStoragePath, window: Window, *, include_runs: bool) -> WindowFolders:
    """
    Return the folders of a window.

    :param base: The folder of all windows.
    :raises PortkeyExportConflictError: where the window was exported with the other value of ``include_runs``: its
        steps would be there twice.
    """
    name = f"window_start={stamp(window.start)}"
    alone, beside_runs = base / name, base / STEPS / name
    steps, other = (beside_runs, alone) if include_runs else (alone, beside_runs)
    if (other / MANIFEST).exists():
        raise PortkeyExportConflictError(
            f"{other} has this window, exported with include_runs={not include_runs}. Remove that export, or choose "
            "another path."
        )
    return WindowFolders(steps, base / RUNS / name if include_runs else None)
