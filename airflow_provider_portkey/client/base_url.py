"""The base URL of all requests, from the forms in which users write a host."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

DEFAULT_BASE_URL = "https://api.portkey.ai/v1"

_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
#: A label of a host name (RFC 1035, section 2.3.4), also with the underscore of container networks.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
#: Characters of a host name at most (RFC 1035).
_MAX_HOST = 253
_PORT = "a port from 1 to 65535"


def normalise_base_url(host: str, port: int | None = None, path: str | None = None) -> str:
    """
    Return the base URL, with scheme, without a trailing slash, ending in ``/v1``.

    The default scheme is ``http`` for a loopback host and ``https`` for every other host.

    :param host: Host name or URL, with or without ``/v1``.
    :param port: Completes a URL that names no port.
    :param path: Completes a URL that has no path (the path of a connection URI).
    :raises ValueError: for a URL that is not http(s), or has user name, password, query or fragment.
    """
    given = host.strip()
    if "://" not in given:
        given = f"{'http' if is_loopback(f'//{given}') else 'https'}://{given}"
    url = check_url(given)
    if "@" in url.netloc:
        raise ValueError("a URL without user name and password: the Portkey API key belongs in the password field")
    if url.query or url.fragment:
        raise ValueError("a URL without '?' and '#': query parameters belong in the field 'query'")
    netloc = url.netloc if url.port or not port else f"{url.netloc.rstrip(':')}:{port}"
    if url.hostname and not url.hostname.isascii():
        netloc = netloc.lower().replace(url.hostname, _to_ascii(url.hostname))
    segments = (url.path.strip("/") or (path or "").strip("/")).split("/")
    if segments[-1] == "v1":
        segments.pop()
    return "/".join([f"{url.scheme}://{netloc}", *filter(None, segments), "v1"])


def check_url(given: str) -> SplitResult:
    """
    Return the parts of an http or https URL.

    :raises ValueError: with what was expected, for a URL whose scheme, host or port cannot be.
    """
    if any(character.isspace() or not character.isprintable() for character in given):
        raise ValueError("a URL without white space")
    if "\\" in given:
        raise ValueError("a URL without a backslash")
    try:
        url = urlsplit(given)
        port = url.port
    except ValueError as error:
        what = _PORT if "ort" in str(error) else "a valid host"
        raise ValueError(f"an http or https URL with {what}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("an http or https URL such as https://api.portkey.ai/v1")
    if port == 0:
        raise ValueError(f"an http or https URL with {_PORT}")
    if "[" not in url.netloc:
        labels = _to_ascii(url.hostname).removesuffix(".").split(".")
        if not all(map(_LABEL.fullmatch, labels)) or len(".".join(labels)) > _MAX_HOST:
            raise ValueError("a host name of labels with 1 to 63 letters, digits and hyphens each")
    return url


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine itself."""
    try:
        return bool(_LOOPBACK.fullmatch(urlsplit(url).hostname or ""))
    except ValueError:
        return False


def _to_ascii(hostname: str) -> str:
    if hostname.isascii():
        return hostname
    import idna

    try:
        return idna.encode(hostname, uts46=True).decode()
    except idna.IDNAError:
        raise ValueError("a host name of letters that domain names can have") from None
