"""From what people write as a host to the one base URL that requests are built on."""

from __future__ import annotations

from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://api.portkey.ai/v1"

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def normalise_base_url(host: str, port: int | None = None, path: str | None = None) -> str:
    """
    Return the base URL, with scheme, without a trailing slash, ending in ``/v1``.

    Without a scheme, ``http`` is taken for a loopback host and ``https`` for every other.

    :param host: Host name or URL, with or without ``/v1``.
    :param port: Completes a URL that names no port.
    :param path: Completes a URL that has no path (the path of a connection URI).
    :raises ValueError: where it is no http(s) URL, or carries settings, a query or a fragment.
    """
    text = host.strip()
    if "://" not in text:
        text = f"{'http' if _names_loopback(text) else 'https'}://{text}"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise ValueError("an http or https URL with a host and, if any, a port from 1 to 65535") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("an http or https URL such as https://api.portkey.ai/v1")
    if "@" in url.netloc:
        raise ValueError("a URL without user name and password: the Portkey API key belongs in the password field")
    if url.query or url.fragment:
        raise ValueError("a URL without '?' and '#': query parameters belong in the field 'query'")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("a URL without white space")
    netloc = url.netloc if url.port or not port else f"{url.netloc}:{port}"
    segments = (url.path.strip("/") or (path or "").strip("/")).split("/")
    if segments[-1] == "v1":
        segments.pop()
    return "/".join([f"{url.scheme}://{netloc}", *filter(None, segments), "v1"])


def _names_loopback(text: str) -> bool:
    name = text.lower().split("/", maxsplit=1)[0].removeprefix("[")
    return any(name == own or name.startswith((f"{own}:", f"{own}]")) for own in _LOOPBACK)
