"""Does a connection work? One request, no retries, one sentence."""

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

#: Portkey then lists the models of the workspace's own integrations; other gateways ignore it.
_LIST_OWN_MODELS = ("x-portkey-fetch-integrated-models", "true")


def check_connection(settings: Callable[[], ConnectionSettings]) -> tuple[bool, str]:
    """
    Ask for the list of models and say what came of it.

    :param settings: Reads them; what that raises is a finding as well.
    """
    try:
        found = settings()
    except Exception as error:  # whatever keeps a connection from being read is what the user wants to know
        return False, str(error)
    client = PortkeyClient(replace(found, headers=(*found.headers, _LIST_OWN_MODELS), max_retries=0))
    try:
        models = client.get("/models", {})
    except PortkeyRequestError as error:
        return _finding(error, found.base_url)
    except PortkeyError as error:
        return False, str(error)
    finally:
        client.close()
    if not isinstance(models.get("data"), list):
        return False, f"{found.base_url} answers, but not as a Portkey gateway does: its /models is no list of models."
    count = len(models["data"])
    return True, f"Connected to {found.base_url}: it lists {count} {'model' if count == 1 else 'models'}."


def _finding(error: PortkeyRequestError, base_url: str) -> tuple[bool, str]:
    from_provider = error.refused_by == "provider"
    if isinstance(error, PortkeyUnreachableError):
        return False, f"{base_url} cannot be reached: {error.server_message}."
    if from_provider and isinstance(error, PortkeyNotFoundError):
        return True, f"Connected to {base_url}: the provider behind it has no list of models, so its key is untested."
    if isinstance(error, (PortkeyAuthenticationError, PortkeyPermissionDeniedError)) and error.refused_by:
        who, field = ("The provider behind Portkey", "provider's own") if from_provider else ("Portkey", "Portkey API")
        return False, f"{who} refused the {field} key ({error.status_code}): {error.server_message}."
    if isinstance(error, PortkeyBadRequestError) and not from_provider:
        return False, f"Portkey finds no such provider, or none is named: {error.server_message}."
    if isinstance(
        error,
        (PortkeyRedirectedError, PortkeyUnexpectedResponseError, PortkeyNotFoundError, PortkeyAuthenticationError),
    ):
        return (
            False,
            f"{base_url} answers, but not as a Portkey gateway does ({error.status_code}): {error.server_message}.",
        )
    return False, f"{base_url} answers {error.status_code}: {error.server_message}."
