"""Lists to XCom: any list by its declaration, the runs of a thread, the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES
from airflow_provider_portkey.tasks.lists import BasePortkeyCustomListOperator, BasePortkeyListOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class BasePortkeyListToXComOperator(BasePortkeyListOperator):
    """
    Return a list, for the few kilobytes that XCom is made for.

    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param limit: Return one page with this number of items, 1 to 100; ``None`` returns every page (templated).
    :param before: With ``limit``: id of the item after the page's last one (templated).
    :param max_bytes: Fail where the items as JSON are larger. The default is what a 64 kB column of a metadata database
        holds with room to spare (templated).
    :param kwargs: The other parameters of :class:`BasePortkeyListOperator`.
    """

    template_fields: Sequence[str] = (*BasePortkeyListOperator.template_fields, "limit", "before", "max_bytes")
    #: The operator for larger lists.
    storage_operator: ClassVar[str] = "PortkeyListToObjectStorageOperator"

    def __init__(
        self,
        *,
        portkey_conn_id: str = "portkey_default",
        limit: int | None = None,
        before: str | None = None,
        max_bytes: int = XCOM_MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.portkey_conn_id = portkey_conn_id
        self.limit = limit
        self.before = before
        self.max_bytes = max_bytes

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the items, each as received.

        :raises PortkeyXComTooLargeError: at the first item beyond ``max_bytes``; later pages are not requested.
        """
        from airflow_provider_portkey.tasks.xcom import fit_for_xcom

        self._begin(context)
        ids = self._path_ids
        of = f" of {', '.join(f'{name} {value!r}' for name, value in ids.items())}" if ids else ""
        return fit_for_xcom(
            self._iter_items() if self.limit is None else self._read_page(self.limit),
            max_bytes=self.max_bytes,
            what=f"{self.list_spec.kind}{of}",
            instead=self.storage_operator,
        )

    def _read_page(self, limit: int) -> list[dict[str, Any]]:
        bounds: dict[str, Any] = {"order": self.order, "after": self.after, "before": self.before}
        page = self.hook.list_page(self.list_spec, self._path_ids, limit, **bounds, **self._parameters)
        return self.list_spec.items_of(page)

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        self._check_limit()

    def _validate(self) -> None:
        from airflow_provider_portkey.parameters import is_template

        super()._validate()
        if not any(map(is_template, (self.limit, self.before, self.max_items))):
            self._check_limit()

    def _check_limit(self) -> None:
        if self.before is not None and self.limit is None:
            expected = "None without limit: the page before an item is one page, not every page"
            raise PortkeyInvalidArgumentError("before", self.before, expected)
        if self.max_items is not None and self.limit is not None:
            expected = "None with limit, which is the number of items on the only page"
            raise PortkeyInvalidArgumentError("max_items", self.max_items, expected)


class PortkeyListOperator(BasePortkeyCustomListOperator, BasePortkeyListToXComOperator):
    """
    Return any list, for the few kilobytes that XCom is made for.

    :param kwargs: The parameters of :class:`BasePortkeyCustomListOperator` and :class:`BasePortkeyListToXComOperator`.
    """

    template_fields: Sequence[str] = (*BasePortkeyListToXComOperator.template_fields, "ids", "parameters")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._validate()


class PortkeyThreadRunsOperator(BasePortkeyListToXComOperator):
    """
    Return the runs of a thread, for the few kilobytes that XCom is made for.

    :param thread_id: The thread (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation (templated).
    :param kwargs: The other parameters of :class:`BasePortkeyListToXComOperator`.
    """

    template_fields: Sequence[str] = (*BasePortkeyListToXComOperator.template_fields, "thread_id")
    list_spec = lazy_attribute("jobs.lists", "RUNS")
    storage_operator = "PortkeyThreadRunsToObjectStorageOperator"

    def __init__(self, *, thread_id: str, order: str | None = "asc", **kwargs: Any) -> None:
        super().__init__(order=order, **kwargs)
        self.thread_id = thread_id
        self._validate()


class PortkeyRunStepsOperator(BasePortkeyListToXComOperator):
    """
    Return the steps of a run, for the few kilobytes that XCom is made for.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation (templated).
    :param include: Names of additional fields to request, such as
        ``step_details.tool_calls[*].file_search.results[*].content`` (templated).
    :param kwargs: The other parameters of :class:`BasePortkeyListToXComOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyListToXComOperator.template_fields,
        "thread_id",
        "run_id",
        "include",
    )
    list_spec = lazy_attribute("jobs.lists", "RUN_STEPS")
    storage_operator = "PortkeyRunStepsToObjectStorageOperator"

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        order: str | None = "asc",
        include: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(order=order, **kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.include = include
        self._validate()

    @property
    def _parameters(self) -> Mapping[str, Any]:
        return {"include": self.include}
