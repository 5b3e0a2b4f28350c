"""The calls on exports of Portkey's own logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus, urlsplit

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.log_export import LOG_EXPORT

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: Shorter parameters of a signed URL are no secrets, and are words that a message may need.
_SHORTEST_SECRET = 8


class LogExportsMixin(BasePortkeyHook):
    """One method for each call on a log export, and the download of what it made."""

    def create_log_export(
        self,
        *,
        filters: Mapping[str, Any],
        requested_data: Sequence[str],
        workspace_id: str | None = None,
        description: str | None = None,
    ) -> dict[str, Any]:
        """
        Make a draft and return its ``id`` and ``total``, the number of logs that it is about. Nothing runs yet.

        :param filters: ``time_of_generation_min``, ``time_of_generation_max`` and others.
        :param requested_data: The fields of each row.
        :param workspace_id: The workspace, by its slug.
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
        """Make another draft of a draft and return its ``id`` and its new ``total``."""
        return self._client.put(LOG_EXPORT.path, {"export_id": export_id}, _body(filters, requested_data, workspace_id))

    def start_log_export(self, export_id: str) -> dict[str, Any]:
        """Have Portkey carry a draft out."""
        return self._client.post(LOG_EXPORT.path + "/start", {"export_id": export_id})

    def get_log_export(self, export_id: str) -> dict[str, Any]:
        """Return one export."""
        return self.get_job(LOG_EXPORT, {"export_id": export_id})

    def cancel_log_export(self, export_id: str) -> dict[str, Any]:
        """Have Portkey stop an export."""
        return self.cancel_job(LOG_EXPORT, {"export_id": export_id})

    def log_export_download_url(self, export_id: str) -> str:
        """
        Return where the rows of an export that has ended are downloaded. The URL is a secret, and is masked.

        :raises PortkeyUnexpectedResponseError: where the answer has none.
        """
        answer = self._client.get(LOG_EXPORT.path + "/download", {"export_id": export_id})
        url = answer.get("signed_url") or answer.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            named = LOG_EXPORT.describe({"export_id": export_id})
            raise PortkeyUnexpectedResponseError(
                f"The answer has no URL to download {named} from, only {sorted(answer)}."
            )
        _mask(url)
        return url

    def iter_log_export(self, export_id: str) -> Iterator[bytes]:
        """Yield the JSONL of an export that has ended, piece by piece, with as many signed URLs as that takes."""
        return self.iter_signed(
            self.log_export_download_url(export_id), renew=lambda: self.log_export_download_url(export_id)
        )

    def iter_signed(self, url: str, *, renew: Callable[[], str] | None = None) -> Iterator[bytes]:
        """
        Yield the bytes behind a signed URL, piece by piece; what was cut is resumed.

        The store is sent neither a credential nor a header nor a query of the connection, only time-outs, number of
        retries and TLS settings are the connection's.

        :param url: A secret: errors name its host and its path only.
        :param renew: Gives a new URL for the same file where the one before has expired.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        from airflow_provider_portkey.client.downloads import iter_download
        from airflow_provider_portkey.client.sessions import new_session

        def another() -> tuple[str, ConnectionSettings]:
            new = renew() if renew else url
            _mask(new)
            return new, self._for_store(new)

        _mask(url)
        settings = self._for_store(url)
        with new_session((), head_timeout=settings.attempt_timeout) as session:
            yield from iter_download(
                session,
                url,
                name=settings.base_url + urlsplit(url).path,
                settings=settings,
                renew=another if renew else None,
            )

    def _for_store(self, url: str) -> ConnectionSettings:
        """Return what the connection says without its settings, and with the URL's own secrets."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        # Both as they stand in the URL and decoded: a store's error may repeat either.
        values = [pair.partition("=")[2] for pair in parts.query.split("&")]
        signed = {value for raw in values for value in (raw, unquote_plus(raw)) if len(value) >= _SHORTEST_SECRET}
        secrets = {*self.settings.secrets, *signed, *filter(None, (parts.query, parts.password))}
        return replace(
            self.settings,
            base_url=origin,
            headers=(),
            query=(),
            secrets=tuple(sorted(secrets, key=len, reverse=True)),
        )


def _body(filters: Mapping[str, Any], requested_data: Sequence[str] | None, workspace_id: str | None) -> dict[str, Any]:
    body = {"filters": dict(filters), "requested_data": requested_data and list(requested_data)}
    return {name: value for name, value in (body | {"workspace_id": workspace_id}).items() if value is not None}


def _mask(url: str) -> None:
    from airflow.providers.common.compat.sdk import mask_secret

    # The query is what signs it, and stands alone in what urllib3 logs.
    mask_secret(urlsplit(url).query or url)
