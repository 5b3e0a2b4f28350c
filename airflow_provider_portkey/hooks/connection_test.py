"""The connection test: one request, no retries, one sentence, and the warnings about the connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyBadRequestError,
    PortkeyError,
    PortkeyNotFoundError,
    PortkeyPermissionDeniedError,
    PortkeyRedirectedError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: With this header Portkey lists the models of the workspace's own integrations; other gateways ignore the header.
_LIST_OWN_MODELS = ("x-portkey-fetch-integrated-models", "true")


def check_connection(settings: Callable[[], ConnectionSettings]) -> tuple[bool, str]:
    """
    Request the list of models; return whether the connection works, one sentence about the result, and the warnings.

    :param settings: Returns the settings; an exception is a result as well.
    """
    try:
        checked = settings()
    except Exception as error:  # any reason why the connection cannot be read
        return False, str(error)
    works, sentence = _request_models(checked)
    return works, " ".join((sentence, *checked.warnings))


def _request_models(checked: ConnectionSettings) -> tuple[bool, str]:
    client = PortkeyClient(replace(checked, headers=(*checked.headers, _LIST_OWN_MODELS), max_retries=0))
    try:
        models = client.get("/models", {})
    except PortkeyRequestError as error:
        return _result(error, checked.base_url)
    except PortkeyError as error:
        return False, str(error)
    finally:
        client.close()
    if not isinstance(models.get("data"), list):
        return False, f"{checked.base_url} responds, but not like a Portkey gateway: its /models is no list of models."
    count = len(models["data"])
    return True, f"Connected to {checked.base_url}: it lists {count} {'model' if count == 1 else 'models'}."


def _result(error: PortkeyRequestError, base_url: str) -> tuple[bool, str]:
    from_provider = error.refused_by == "provider"
    if isinstance(error, PortkeyUnreachableError):
        return False, f"{base_url} cannot be reached: {error.server_message}."
    if from_provider and isinstance(error, PortkeyNotFoundError):
        return True, f"Connected to {base_url}: the provider behind it has no list of models, so its key is untested."
    if isinstance(error, (PortkeyAuthenticationError, PortkeyPermissionDeniedError)) and error.refused_by:
        server, key = ("The provider behind Portkey", "provider's own") if from_provider else ("Portkey", "Portkey API")
        return False, f"{server} refused the {key} key ({error.status_code}): {error.server_message}."
    if isinstance(error, PortkeyBadRequestError) and not from_provider:
        return False, f"Portkey knows no such provider, or the connection names none: {error.server_message}."
    if isinstance(
        error,
        (PortkeyRedirectedError, PortkeyUnexpectedResponseError, PortkeyNotFoundError, PortkeyAuthenticationError),
    ):
        message = f"{base_url} responds, but not like a Portkey gateway ({error.status_code}): {error.server_message}."
        return False, message
    return False, f"{base_url} responds with {error.status_code}: {error.server_message}."
