"""Writing the input of batches: from the rows of a table, and from the requests that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import PortkeyFileTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.batch.build import RequestBuilder
    from airflow_provider_portkey.batch.parts import PartBuffer

#: Files that a line of the log names.
_PARTS_SHOWN = 3


class BasePortkeyBatchInputOperator(PortkeyFileTaskMixin, BaseOperator):
    """
    Write requests as files that a provider takes as one batch each. A subclass says which requests.

    The return value is the list of the files' paths, which ``PortkeyCreateBatchOperator.partial(...)`` takes in
    ``.expand(input_path=...)``; the XCom ``manifest`` has counts, and the size and hash of each file. Beside each
    file is one of the same name with ``.keys`` before its ending, by which outcomes are joined to the rows. The same
    rows give the same bytes. No file is written unless all requests are right.

    :param path: The files: a local path or any URL of ``ObjectStoragePath``; a number is inserted before the ending,
        so that ``requests.jsonl`` becomes ``requests-00001.jsonl`` (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if the store needs one (templated).
    :param max_requests: Requests of one file at most; OpenAI takes 50,000 (templated).
    :param max_file_bytes: Bytes of one file at most; OpenAI takes 200 MB (templated).
    :param overwrite: Replace existing files, rather than fail before the first is written (templated).
    """

    template_fields: Sequence[str] = ("path", "object_storage_conn_id", "max_requests", "max_file_bytes", "overwrite")
    ui_color = "#e8e4f8"

    def __init__(
        self,
        *,
        path: str,
        object_storage_conn_id: str | None = None,
        max_requests: int | None = 50_000,
        max_file_bytes: int = 200_000_000,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.object_storage_conn_id = object_storage_conn_id
        self.max_requests = max_requests
        self.max_file_bytes = max_file_bytes
        self.overwrite = overwrite

    def execute(self, context: Context) -> list[str]:
        """
        Write the files and return their paths; an empty list where there is no request.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        :raises PortkeyBatchInputInvalidError: naming the rows that cannot become requests.
        :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off.
        """
        from airflow_provider_portkey.batch.parts import PartBuffer
        from airflow_provider_portkey.export.atomic import file_path, names_of
        from airflow_provider_portkey.export.manifest import SCHEMA_VERSION, timestamp_now
        from airflow_provider_portkey.json_values import storable
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self, rendered=True)
        path = file_path(self.path, self.object_storage_conn_id)
        started_at = timestamp_now()
        with PartBuffer(max_requests=self.max_requests, max_bytes=self.max_file_bytes) as buffer:
            counts, read = self.add_requests(buffer)
            parts = buffer.write(self.path, self.object_storage_conn_id, overwrite=self.overwrite, read=read)
        manifest = {
            **names_of(path if parts else None),
            "format": "jsonl",
            "rows": buffer.requests,
            **counts,
            "bytes": sum(part["bytes"] for part in parts),
            "parts": parts,
            "started_at": started_at,
            "finished_at": timestamp_now(),
            "schema_version": SCHEMA_VERSION,
        }
        names = ", ".join(part["input_path"] for part in parts[:_PARTS_SHOWN])
        more = f" and {len(parts) - _PARTS_SHOWN} more" if len(parts) > _PARTS_SHOWN else ""
        self.log.info("Requests: %d, files: %d: %s%s", buffer.requests, len(parts), names or "none", more)
        if ti := context.get("ti"):
            ti.xcom_push(key="manifest", value=storable(manifest))
        self._report_files(context, manifest, inputs=read, columns={})
        return [part["input_path"] for part in parts]

    def add_requests(self, parts: PartBuffer) -> tuple[dict[str, Any], list[str]]:
        """Add the requests to the parts, and return the counts of the manifest and the URIs of what was read."""
        raise NotImplementedError

    def _validate(self) -> None:
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self)


class PortkeyBatchInputOperator(BasePortkeyBatchInputOperator):
    """
    Make the input of batches from the rows of a table: one request for each row.

    ``model``, ``messages``, ``input``, ``response_format`` and ``extra_body`` are templates of each row, rendered with
    its columns in a sandbox of Jinja's. Airflow does not render them: what a DAG run knows, such as
    ``{{ ds }}``, comes in by ``variables``. A text without ``{{`` is the same for each row.

    :param rows_path: A file of rows: a local path or any URL of ``ObjectStoragePath``; a name that ends in ``.gz`` or
        ``.zst`` is compressed (templated).
    :param rows: A list of mappings, such as the output of another task, in place of ``rows_path`` (templated).
    :param rows_format: ``"jsonl"``, ``"csv"`` or ``"parquet"``; ``None`` for that of the name's ending (templated).
    :param key_columns: The columns that name a row; they come back in the table of outcomes. ``None`` for all columns
        (templated).
    :param custom_id: ``"key"``: the value of the only key column; ``"hash"``: a hash of the key columns, which is the
        same in each run. ``None``: the value where there is one key column, else the hash (templated).
    :param model: The model; a template of each row.
    :param messages: The messages, or one string for a message of the user; templates of each row.
    :param input: In place of messages, for responses and embeddings; a template of each row.
    :param response_format: In the form of chat completions; sent as ``text.format`` to the endpoint of responses. A
        JSON schema in it is checked before a file is written.
    :param extra_body: Further fields of the body; templates of each row.
    :param variables: Names for the templates beside the columns, the same for each row, as a mapping or as JSON
        (templated).
    :param endpoint: The endpoint of the requests (templated).
    :param input_mode: ``"file"``: lines of ``method``, ``url`` and ``body``; ``"inline"``: lines of ``params``, for
        Anthropic (templated).
    :param kwargs: The arguments of :class:`BasePortkeyBatchInputOperator`: ``path``, ``max_requests``,
        ``max_file_bytes`` and ``overwrite``.
    :raises PortkeyInvalidArgumentError: at parse, where a template or a schema is none.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyBatchInputOperator.template_fields,
        "rows_path",
        "rows",
        "rows_format",
        "key_columns",
        "custom_id",
        "variables",
        "endpoint",
        "input_mode",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"variables": "json"}

    def __init__(
        self,
        *,
        rows_path: str | None = None,
        rows: Iterable[Mapping[str, Any]] | None = None,
        rows_format: str | None = None,
        key_columns: Sequence[str] | str | None = None,
        custom_id: str | None = None,
        model: str | None = None,
        messages: str | Sequence[Mapping[str, Any]] | None = None,
        input: str | Sequence[Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | str | None = None,
        endpoint: str = "/v1/chat/completions",
        input_mode: str = "file",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows_path = rows_path
        self.rows = rows
        self.rows_format = rows_format
        self.key_columns = key_columns
        self.custom_id = custom_id
        self.model = model
        self.messages = messages
        self.input = input
        self.response_format = response_format
        self.extra_body = extra_body
        self.variables = variables
        self.endpoint = endpoint
        self.input_mode = input_mode
        self._validate()
        self._builder()

    def add_requests(self, parts: PartBuffer) -> tuple[dict[str, Any], list[str]]:
        """
        Add the request of each row, and return the counts of the manifest and the URI of the file of rows.

        :raises PortkeyInvalidArgumentError: where a template or the key columns name a column that is not there.
        :raises PortkeyBatchInputInvalidError: naming the rows that cannot become requests.
        """
        from airflow_provider_portkey.batch.rows import format_of, list_table, open_table
        from airflow_provider_portkey.export.atomic import file_path, path_text, uri_of

        builder, read, rows_path = self._builder(rendered=True), [], None
        if self.rows_path is None:
            builder.build(list_table(self.rows), parts)
        else:
            path = file_path(self.rows_path, self.object_storage_conn_id, field="rows_path")
            kind = format_of(self.rows_path, self.rows_format)
            read.append(uri_of(path))
            rows_path = path_text(path)
            with open_table(path, kind, columns=builder.columns) as table:
                builder.build(table, parts)
        counts = {
            "rows_path": rows_path,
            "key_columns": builder.key_columns,
            "endpoint": self.endpoint,
            "requests": parts.requests,
        }
        return counts, read

    def _builder(self, *, rendered: bool = False) -> RequestBuilder:
        """Return what makes the requests, checked as far as that is possible before rendering."""
        from airflow_provider_portkey.batch.build import make_builder

        return make_builder(self, rendered=rendered)


class PortkeyBatchRetryInputOperator(BasePortkeyBatchInputOperator):
    """
    Write the requests of a first input to retry, by the tables of the rounds so far.

    Where nothing is left, the return value is an empty list: the mapped tasks of the next round are skipped then, and
    the merge needs ``trigger_rule="all_done"`` or ``"none_failed"``.

    :param inputs: The files of the first round, such as the output of ``PortkeyBatchInputOperator`` (templated).
    :param outcomes: The tables of all rounds so far, earlier rounds first: paths, or the manifests of the exports; of
        mapped exports their output. Lists within the list are read as well (templated).
    :param retry_statuses: The statuses to retry: of ``failed``, ``expired``, ``cancelled``, ``missing``,
        ``invalid``, and ``unknown`` for requests that no table has. Those are left out by default: the batch of a part
        without a table may still be active, and would be paid twice (templated).
    :param error_codes: Of ``failed`` requests only those with one of these codes; ``None`` for any (templated).
    :param excluded_error_codes: No requests with one of these codes, such as those of a content filter (templated).
    :param kwargs: The arguments of :class:`BasePortkeyBatchInputOperator`: ``path``, ``max_requests``,
        ``max_file_bytes`` and ``overwrite``.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyBatchInputOperator.template_fields,
        "inputs",
        "outcomes",
        "retry_statuses",
        "error_codes",
        "excluded_error_codes",
    )

    def __init__(
        self,
        *,
        inputs: Any,
        outcomes: Any,
        retry_statuses: Sequence[str] | str = ("failed", "expired", "missing", "invalid"),
        error_codes: Sequence[str] | str | None = None,
        excluded_error_codes: Sequence[str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.outcomes = outcomes
        self.retry_statuses = retry_statuses
        self.error_codes = error_codes
        self.excluded_error_codes = excluded_error_codes
        self._validate()

    def add_requests(self, parts: PartBuffer) -> tuple[dict[str, Any], list[str]]:
        """
        Add the requests to retry, and return the counts of the manifest and the URIs of the inputs and the tables.

        :raises PortkeyLineInvalidError: where a table or an input cannot be read.
        """
        from airflow_provider_portkey.batch.rounds import Rounds, read_paths

        rounds = Rounds(
            inputs=read_paths("inputs", self.inputs),
            tables=read_paths("outcomes", self.outcomes),
            object_storage_conn_id=self.object_storage_conn_id,
        )
        counts = rounds.write_retry(
            parts,
            statuses=self.retry_statuses,
            error_codes=self.error_codes,
            excluded_error_codes=self.excluded_error_codes or (),
        )
        if unknown := counts["status_counts"].get("unknown"):
            self.log.warning(
                "%d of %d requests are in no table: their batch failed or is active.", unknown, counts["requests"]
            )
        self.log.info(
            "%d of %d requests are retried: %s", counts["retried"], counts["requests"], counts["retried_by_status"]
        )
        return counts, rounds.uris
