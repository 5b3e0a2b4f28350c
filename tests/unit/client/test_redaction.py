from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_portkey.client.redaction import (
    escape_unprintable,
    find_secrets,
    redact,
    redact_library_logs,
    spellings,
)

SECRET = 'sk a/+"\\é&key=='


#: Encoders by name.
ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded but slashes": quote,
    "percent-encoded in lower case": lambda secret: re.sub("%..", lambda match: match[0].lower(), quote(secret)),
    "percent-encoded twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "percent-encoded as a form": quote_plus,
    "every character percent-encoded": lambda secret: "".join(f"%{octet:02x}" for octet in secret.encode()),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON of UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON with escaped slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON within JSON": lambda secret: json.dumps(json.dumps(secret))[1:-1],
    "JSON as Go writes it": lambda secret: json.dumps(secret)[1:-1].replace("&", "\\u0026"),
    "HTML": html.escape,
    "repr of bytes": lambda secret: repr(secret.encode())[2:-1],
    "Bearer": lambda secret: f"Bearer {secret}",
    "Base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "Base64 of an URL": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "Base64, percent-encoded": lambda secret: quote(base64.b64encode(secret.encode()).decode(), safe=""),
    **{
        f"Basic authentication of {user!r}": lambda secret, user=user: (  # type: ignore[misc]
            "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        )
        for user in ("", "u", "us", "user")
    },
    "Basic authentication as the user": lambda secret: "Basic " + base64.b64encode(f"{secret}:".encode()).decode(),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_secret_is_redacted_in_every_spelling(encoder: str) -> None:
    redacted = redact(f"before {ENCODERS[encoder](SECRET)} after", find_secrets([SECRET]))

    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    left = redacted.removeprefix("before ").removesuffix(" after").replace("Basic ", "").replace("Bearer ", "")
    assert "***" in left
    assert len(left.replace("***", "")) <= 9, "what is left is the user's name"


#: Rare ones, which only ``redact`` knows.
RARE = {
    "percent-encoded twice",
    "every character percent-encoded",
    "JSON within JSON",
    "JSON as Go writes it",
    "repr of bytes",
    "Base64, percent-encoded",
}


@pytest.mark.parametrize("encoder", sorted(ENCODERS.keys() - RARE))
def test_airflows_masking_knows_the_spellings_that_encoders_produce(encoder: str) -> None:
    spelled = ENCODERS[encoder](SECRET)

    for spelling in sorted(spellings(SECRET), key=len, reverse=True):
        spelled = spelled.replace(spelling, "***")

    assert "***" in spelled


def test_a_text_without_the_secret_stays_as_it_is() -> None:
    text = "GET /threads/thread_1/runs: refused (401): Incorrect API key %2Fa+b sk a"

    assert redact(text, find_secrets([SECRET])) == text
    assert redact(text, ()) == text


def test_the_pair_and_the_password_of_basic_authentication_are_secrets() -> None:
    encoded = base64.b64encode(b"user:open-sesame").decode()

    secrets = find_secrets([], {"Authorization": f"Basic {encoded}", "Proxy-Authorization": "Basic not-base64!"})

    assert set(secrets) >= {encoded, "user:open-sesame", "open-sesame", "not-base64!"}


def test_a_boolean_below_the_name_of_a_credential_is_no_secret() -> None:
    assert find_secrets([], {"auth": False, "tokens": [True, "token-1"]}) == ("token-1",)


def test_a_long_text_is_searched_in_time_that_grows_with_its_length() -> None:
    secrets = find_secrets([SECRET, "pk-portkey-key" * 10])

    assert redact("%25" * 100_000 + "\\" * 100_000 + SECRET, secrets).endswith("***")


@pytest.mark.parametrize("name", ["urllib3.connectionpool", "aiohttp.client"])
def test_lines_of_the_http_libraries_are_redacted(name: str, caplog: pytest.LogCaptureFixture) -> None:
    redact_library_logs(find_secrets([SECRET]))

    with caplog.at_level(logging.DEBUG, name):
        logging.getLogger(name).debug('%s "GET /v1?token=%s HTTP/1.1" %d', "https://x:443", quote_plus(SECRET), 500)

    assert [record.getMessage() for record in caplog.records] == ['https://x:443 "GET /v1?token=*** HTTP/1.1" 500']


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain, größer 线 👩‍👩‍👧", "plain, größer 线 👩‍👩‍👧"),
        ("two\nlines\r\n\tand a tab", "two\\nlines\\r\\n\\tand a tab"),
        ("\x1b[31mred\x1b[0m \x9b1m", "\\x1b[31mred\\x1b[0m \\x9b1m"),
        ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
        ("abc\u202edcba\u2066x\u2069", "abc\\u202edcba\\u2066x\\u2069"),
        ("a\u2028b\u2029c\x85d\ufeff", "a\\u2028b\\u2029c\\x85d\\ufeff"),
        ("half \ud800 of a pair", "half \\ud800 of a pair"),
    ],
)
def test_a_servers_string_is_shown_as_one_line_that_says_what_it_holds(given: str, shown: str) -> None:
    assert escape_unprintable(given) == shown
    assert len(shown.splitlines()) == 1


def test_an_escaped_string_stays_as_it_is() -> None:
    assert escape_unprintable(escape_unprintable("\x1b\u202e")) == escape_unprintable("\x1b\u202e")
