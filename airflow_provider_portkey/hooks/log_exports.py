"""The calls of exports of Portkey's own logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.log_export import LOG_EXPORT

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings


class LogExportsMixin(BasePortkeyHook):
    """One method for each call on a log export, and the download of its rows."""

    def create_log_export(
        self,
        *,
        filters: Mapping[str, Any],
        requested_data: Sequence[str],
        workspace_id: str | None = None,
        description: str | None = None,
    ) -> dict[str, Any]:
        """
        Create a draft and return its ``id`` and ``total``, the number of logs. A draft does not run yet.

        :param filters: ``time_of_generation_min``, ``time_of_generation_max`` and others.
        :param requested_data: The fields of each row.
        :param workspace_id: The workspace's slug.
        :param description: Shown in Portkey's list of exports.
        """
        body = _body(filters, requested_data, workspace_id)
        return self.create_job(LOG_EXPORT, body | ({"description": description} if description else {}))

    def update_log_export(
        self,
        export_id: str,
        *,
        filters: Mapping[str, Any],
        requested_data: Sequence[str] | None = None,
        workspace_id: str | None = None,
    ) -> dict[str, Any]:
        """Change a draft and return its ``id`` and new ``total``."""
        return self._client.put(LOG_EXPORT.path, {"export_id": export_id}, _body(filters, requested_data, workspace_id))

    def start_log_export(self, export_id: str) -> dict[str, Any]:
        """Start a draft."""
        return self._client.post(LOG_EXPORT.path + "/start", {"export_id": export_id})

    def get_log_export(self, export_id: str) -> dict[str, Any]:
        """Return one export."""
        return self.get_job(LOG_EXPORT, {"export_id": export_id})

    def cancel_log_export(self, export_id: str) -> dict[str, Any]:
        """Cancel an export."""
        return self.cancel_job(LOG_EXPORT, {"export_id": export_id})

    def log_export_download_url(self, export_id: str) -> str:
        """
        Return the signed URL of a successful export's rows. The URL is a secret, and is masked.

        :raises PortkeyUnexpectedResponseError: for a response without a URL.
        """
        response = self._client.get(LOG_EXPORT.path + "/download", {"export_id": export_id})
        url = response.get("signed_url") or response.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            export = LOG_EXPORT.describe({"export_id": export_id})
            raise PortkeyUnexpectedResponseError(f"The response has no URL for {export}, only {sorted(response)}.")
        _mask(url)
        return url

    def iter_log_export(self, export_id: str) -> Iterator[bytes]:
        """Yield the JSONL of a successful export in chunks; an expired signed URL is replaced by a new one."""
        return self.iter_signed(
            self.log_export_download_url(export_id), renew=lambda: self.log_export_download_url(export_id)
        )

    def iter_signed(self, url: str, *, renew: Callable[[], str] | None = None) -> Iterator[bytes]:
        """
        Yield the bytes at a signed URL in chunks; an interrupted download is resumed.

        Only time-outs, retries and TLS are the connection's: the store receives no credential, header or query of it.

        :param url: A secret: errors name its host and its path only.
        :param renew: Returns a new URL for the same file after an expired one.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        from airflow_provider_portkey.client.downloads import iter_download
        from airflow_provider_portkey.client.requests_session import new_session

        def prepare(url: str) -> tuple[str, ConnectionSettings]:
            _mask(url)
            return url, self.settings.for_signed_url(url)

        url, settings = prepare(url)
        with new_session(()) as session:
            yield from iter_download(
                session,
                url,
                name=settings.base_url + urlsplit(url).path,
                settings=settings,
                renew=(lambda: prepare(renew())) if renew else None,
            )


def _body(filters: Mapping[str, Any], requested_data: Sequence[str] | None, workspace_id: str | None) -> dict[str, Any]:
    body = {"filters": dict(filters), "requested_data": requested_data and list(requested_data)}
    return {name: value for name, value in (body | {"workspace_id": workspace_id}).items() if value is not None}


def _mask(url: str) -> None:
    from airflow.providers.common.compat.sdk import mask_secret

    # The query is the signature, and urllib3 logs the query without the host.
    mask_secret(urlsplit(url).query or url)
