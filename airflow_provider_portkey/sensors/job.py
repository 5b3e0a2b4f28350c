"""Waiting for a job of any kind but runs; ``jobs/`` or a DAG author declares the kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.tasks.wait import BasePortkeyRemoteJobOperator

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec


class PortkeyResponseSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a background response has finished, and return it without its output, instructions and tools.

    :param response_id: The background response (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (*BasePortkeyRemoteJobOperator.template_fields, "response_id")
    job = lazy_attribute("jobs.response", "RESPONSE")

    def __init__(self, *, response_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.response_id = response_id


class PortkeyBatchSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a batch has finished, and return it; the log shows its counts of requests as they change.

    :param batch_id: The batch (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (*BasePortkeyRemoteJobOperator.template_fields, "batch_id")
    job = lazy_attribute("jobs.batch", "BATCH")

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id


class PortkeyFineTuningJobSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a fine-tuning job has finished, and return it.

    :param fine_tuning_job_id: The fine-tuning job (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (*BasePortkeyRemoteJobOperator.template_fields, "fine_tuning_job_id")
    job = lazy_attribute("jobs.fine_tuning", "FINE_TUNING")

    def __init__(self, *, fine_tuning_job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fine_tuning_job_id = fine_tuning_job_id


class PortkeyLogExportSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a log export that was started elsewhere has finished, and return it.

    :param export_id: The log export (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (*BasePortkeyRemoteJobOperator.template_fields, "export_id")
    job = lazy_attribute("jobs.log_export", "LOG_EXPORT")

    def __init__(self, *, export_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.export_id = export_id


class PortkeyCustomJobSensor(BasePortkeyRemoteJobOperator):
    """
    Wait until a job of a kind that the DAG author declares has finished, and return it without its excluded fields.

    :param job_spec: The declaration: the job's path, and what its statuses mean.
    :param ids: Which job: a value for each ``{name}`` in the declaration's path, also as a JSON string (templated).
    :param on_requires_action: What to do when the job requires action: ``"fail"``, ``"wait"`` until somebody else has
        acted, or ``"return"`` to succeed with the job (templated).
    :param kwargs: The arguments of :class:`BasePortkeyRemoteJobOperator` and of Airflow's sensors.
    :raises PortkeyInvalidArgumentError: where ``ids`` does not fit the path.
    """

    template_fields: Sequence[str] = (*BasePortkeyRemoteJobOperator.template_fields, "ids", "on_requires_action")

    def __init__(
        self, *, job_spec: JobSpec, ids: Mapping[str, str] | str, on_requires_action: str = "fail", **kwargs: Any
    ) -> None:
        from airflow_provider_portkey.parameters import is_template

        self.job = job_spec  # type: ignore[misc]
        super().__init__(**kwargs)
        self.ids = ids
        self.on_requires_action = on_requires_action
        self._validate()
        if not is_template(ids):
            _ = self._job_ids

    @property
    def _job_ids(self) -> dict[str, str]:
        from airflow_provider_portkey.client.paths import path_ids

        return path_ids(self.job.path, self.ids)
