"""
Proxies and CA bundles of the environment, decided for both transports by the code of ``requests``.

``requests`` reads ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (upper and lower case), then
``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``; ``aiohttp`` would read others, and both would read ``.netrc``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

if TYPE_CHECKING:
    import ssl


def proxy_for(url: str) -> str | None:
    """
    Return the URL of the proxy for a URL, or ``None``.

    :raises PortkeyConnectionInvalidError: for a proxy that the triggerer's transport cannot use, such as SOCKS.
    """
    from requests.utils import get_environ_proxies, select_proxy

    given = (select_proxy(url, get_environ_proxies(url, no_proxy=None)) or "").strip()
    if not given:
        return None
    # requests takes 'proxy:3128' for a URL of the scheme 'proxy'.
    proxy: str = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(proxy)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        # Without the value, which may have a password.
        raise PortkeyConnectionInvalidError(
            f"The proxy of the environment for {urlsplit(url).hostname} cannot be used: expected the URL of an http or "
            "https proxy."
        )
    return proxy


def ca_bundle(verify: bool | str) -> str | None:
    """
    Return the path of the CA bundle, or ``None`` where certificates are not verified.

    :param verify: The connection's setting; ``True`` for the environment's bundle, otherwise that of ``certifi``.
    """
    import certifi

    if verify is False:
        return None
    own = verify if isinstance(verify, str) else None
    return own or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()


def tls_context(bundle: str | None) -> ssl.SSLContext | None:
    """
    Return the TLS context for a CA bundle.

    :raises PortkeyConnectionInvalidError: for a bundle that is absent, empty or broken.
    """
    import ssl

    if bundle is None:
        return None
    is_folder = os.path.isdir(bundle)
    try:
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except (OSError, ValueError) as error:
        message = f"The CA bundle {bundle!r} cannot be used: {error}."
    raise PortkeyConnectionInvalidError(message)
