"""What a task returns of the job that it waits for: which fields, and whether also a job that failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyXComTooLargeError
from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class BasePortkeyFieldsOperator(BasePortkeyWaitOperator):
    """
    Wait for one job, and return the job with fields that are excluded by default.

    :param include_fields: Excluded fields of the job to return nevertheless, such as ``["output"]`` of a response: a
        list, or a string with JSON or with names separated by commas or white space (templated). A field that the job
        does not have is left out; a name that is not one of the excluded fields is refused.
    :param max_bytes: Fail where the job with these fields has more bytes as JSON (templated).
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyWaitOperator.template_fields, "include_fields", "max_bytes")

    def __init__(
        self, *, include_fields: Sequence[str] | str | None = None, max_bytes: int = XCOM_MAX_BYTES, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.include_fields = include_fields
        self.max_bytes = max_bytes
        self._validate()

    def _validate(self) -> None:
        from airflow_provider_portkey.parameters import is_template

        super()._validate()
        if not is_template(self.include_fields) and not any(map(is_template, self.include_fields or ())):
            self._check_included()

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        self._check_included()

    def _check_included(self) -> None:
        if self.include_fields and (unknown := sorted({*self.include_fields} - {*self.job.excluded_fields})):
            excluded = ", ".join(sorted(self.job.excluded_fields))
            expected = f"only fields that are left out by default, which {', '.join(unknown)} is not: " + (
                excluded or f"a {self.job.kind} is returned whole"
            )
            raise PortkeyInvalidArgumentError("include_fields", self.include_fields, expected)

    def _returned(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return a job that is not waited for, as the task returns it.

        :raises PortkeyXComTooLargeError: where an included field is too large.
        """
        from airflow_provider_portkey.polling.events import summarize

        found, too_large = summarize(self.job, job, self.include_fields or (), self.max_bytes)
        if too_large:
            raise PortkeyXComTooLargeError(too_large)
        return found


class BasePortkeyRemoteJobOperator(BasePortkeyFieldsOperator):
    """
    Wait for one job, whose failure may be a result.

    :param on_failed: What to do when the job has failed: ``"fail"``, or ``"return"`` to succeed with the job, its
        status, and the reason in the field ``error_message``, for a branch (templated).
    :param kwargs: The arguments of :class:`BasePortkeyFieldsOperator` and of Airflow's sensors.
    """

    template_fields: Collection[str] = (*BasePortkeyFieldsOperator.template_fields, "on_failed")

    def __init__(self, *, on_failed: str = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_failed = on_failed
        self._validate()
