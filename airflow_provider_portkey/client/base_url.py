"""The base URL of all requests, from the forms in which users write a host."""

from __future__ import annotations

from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://api.portkey.ai/v1"

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


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
        given = f"{'http' if _names_loopback(given) else 'https'}://{given}"
    try:
        url = urlsplit(given)
        _ = url.port
    except ValueError:
        raise ValueError("an http or https URL with a host and, if any, a port from 1 to 65535") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("an http or https URL such as https://api.portkey.ai/v1")
    if "@" in url.netloc:
        raise ValueError("a URL without user name and password: the Portkey API key belongs in the password field")
    if url.query or url.fragment:
        raise ValueError("a URL without '?' and '#': query parameters belong in the field 'query'")
    if any(character.isspace() or not character.isprintable() for character in given):
        raise ValueError("a URL without white space")
    netloc = url.netloc if url.port or not port else f"{url.netloc}:{port}"
    segments = (url.path.strip("/") or (path or "").strip("/")).split("/")
    if segments[-1] == "v1":
        segments.pop()
    return "/".join([f"{url.scheme}://{netloc}", *filter(None, segments), "v1"])


def _names_loopback(host: str) -> bool:
    name = host.lower().split("/", maxsplit=1)[0].removeprefix("[")
    return any(name == own or name.startswith((f"{own}:", f"{own}]")) for own in _LOOPBACK)
