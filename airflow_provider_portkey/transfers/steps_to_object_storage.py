"""A run's steps to a file in object storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import PortkeyInvalidArgument
from airflow_provider_portkey.export.formats import check_format, check_installed, encode
from airflow_provider_portkey.jobs.run import RUN, STEP_COLUMNS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.manifest import Tally
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: The column that ``include_messages`` adds.
_MESSAGE_TEXT = "message_text"


class PortkeyRunStepsToObjectStorageOperator(BaseOperator):
    """
    Write the steps of a run to a file, one row each, with one page of them in memory.

    The file is at its path whole or not at all, and has the same bytes for the same steps.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param path: Where to: a local path or any URL that ``ObjectStoragePath`` takes, such as
        ``s3://bucket/{{ ds }}/steps.jsonl`` (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param file_format: ``"jsonl"`` and ``"json"`` write each step as it came, its keys sorted; ``"csv"`` and
        ``"parquet"`` have a column for each field that is documented, nested ones as JSON text, and the column
        ``other_fields`` for what is not.
    :param compression: ``None``, ``"gzip"`` or ``"zstd"``; parquet compresses within the file, ``None`` is snappy.
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param include: Names of further fields to ask for (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote.
    :param overwrite: Replace a file that is there already, rather than fail before anything is fetched.
    """

    template_fields: Sequence[str] = (
        "portkey_conn_id",
        "object_storage_conn_id",
        "thread_id",
        "run_id",
        "path",
        "include",
    )
    ui_color = "#e8e4f8"

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        path: str,
        portkey_conn_id: str = "portkey_default",
        object_storage_conn_id: str | None = None,
        file_format: str = "jsonl",
        compression: str | None = None,
        order: str = "asc",
        include: Sequence[str] | None = None,
        include_messages: bool = False,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.path = path
        self.portkey_conn_id = portkey_conn_id
        self.object_storage_conn_id = object_storage_conn_id
        self.file_format = file_format
        self.compression = compression
        self.order = order
        self.include = include
        self.include_messages = include_messages
        self.overwrite = overwrite
        check_format(file_format, compression)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the file and return its manifest.

        :raises PortkeyDestinationExists: where a file is there already and ``overwrite`` is off.
        """
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        from airflow_provider_portkey.export.landing import land, refuse_existing, uri_of
        from airflow_provider_portkey.export.manifest import Tally
        from airflow_provider_portkey.hooks.portkey import PortkeyHook

        if not str(self.path).strip() or str(self.path).endswith("/"):
            raise PortkeyInvalidArgument("path", self.path, "the path of a file, such as s3://bucket/steps.jsonl")
        check_installed(self.file_format, self.compression)
        path = ObjectStoragePath(self.path, conn_id=self.object_storage_conn_id)
        refuse_existing(path, overwrite=self.overwrite)
        hook = PortkeyHook(self.portkey_conn_id)
        tally = Tally()
        # Before its steps: a run that had ended by now adds no more of them.
        run = hook.get_run(self.thread_id, self.run_id)
        if run.get("status") not in {*RUN.ended_well, *RUN.ended_badly}:
            self.log.warning("Run %r is still %s: later steps will be missing.", self.run_id, run["status"])
        columns = STEP_COLUMNS | ({_MESSAGE_TEXT: "text"} if self.include_messages else {})
        with (
            land(path, overwrite=self.overwrite) as landing,
            encode(
                landing.stream, columns=columns, file_format=self.file_format, compression=self.compression
            ) as encoder,
        ):
            for row in self._rows(hook, tally):
                encoder.write(row)
                tally.row(row)
        manifest = tally.manifest(
            landing,
            uri=uri_of(path),
            file_format=self.file_format,
            compression=self.compression,
            thread_id=self.thread_id,
            run_id=self.run_id,
            run_status=run.get("status"),
            usage=run.get("usage"),
        )
        self.log.info("%d steps (%d bytes) are in %s.", tally.rows, landing.bytes, path)
        return manifest

    def _rows(self, hook: PortkeyHook, tally: Tally) -> Iterator[dict[str, Any]]:
        steps = hook.iter_run_steps(
            self.thread_id, self.run_id, order=self.order, include=self.include, on_page=tally.page
        )
        if not self.include_messages:
            return steps
        from airflow_provider_portkey.transfers.message_texts import MessageTexts

        texts = MessageTexts(hook, self.thread_id, self.run_id, self.order)
        return ({**step, _MESSAGE_TEXT: texts.of(step)} for step in steps)
