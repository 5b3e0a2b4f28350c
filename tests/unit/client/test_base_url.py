from __future__ import annotations

import pytest

from airflow_provider_portkey.client.base_url import is_loopback, normalise_base_url


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("https://api.portkey.ai/v1", "https://api.portkey.ai/v1"),
        ("https://api.portkey.ai/v1/", "https://api.portkey.ai/v1"),
        ("https://api.portkey.ai", "https://api.portkey.ai/v1"),
        ("https://api.portkey.ai/", "https://api.portkey.ai/v1"),
        ("api.portkey.ai", "https://api.portkey.ai/v1"),
        ("api.portkey.ai/v1", "https://api.portkey.ai/v1"),
        ("  api.portkey.ai/v1/\n", "https://api.portkey.ai/v1"),
        ("HTTPS://api.portkey.ai", "https://api.portkey.ai/v1"),
        ("http://gw.corp", "http://gw.corp/v1"),
        ("gw.corp:8443", "https://gw.corp:8443/v1"),
        ("https://gw.corp/portkey", "https://gw.corp/portkey/v1"),
        ("https://gw.corp/portkey/v1/", "https://gw.corp/portkey/v1"),
        ("gw.corp/a/b/", "https://gw.corp/a/b/v1"),
        ("localhost", "http://localhost/v1"),
        ("LOCALHOST:8787", "http://LOCALHOST:8787/v1"),
        ("127.0.0.1:8787/v1", "http://127.0.0.1:8787/v1"),
        ("[::1]:8787", "http://[::1]:8787/v1"),
        ("https://localhost:8787", "https://localhost:8787/v1"),
        ("localhost.corp", "https://localhost.corp/v1"),
        ("https://gw.corp/portkey-v1", "https://gw.corp/portkey-v1/v1"),
    ],
)
def test_each_form_of_a_host_becomes_one_base_url(host: str, base_url: str) -> None:
    assert normalise_base_url(host) == base_url


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        ("localhost", 8787, "http://localhost:8787/v1"),
        ("http://localhost/v1", 8787, "http://localhost:8787/v1"),
        ("https://gw.corp/portkey", 8443, "https://gw.corp:8443/portkey/v1"),
        ("[::1]", 8787, "http://[::1]:8787/v1"),
        ("https://gw.corp:9000", 8443, "https://gw.corp:9000/v1"),
        ("https://gw.corp", 0, "https://gw.corp/v1"),
    ],
)
def test_port_completes_only_a_url_without_one(host: str, port: int, base_url: str) -> None:
    assert normalise_base_url(host, port) == base_url


@pytest.mark.parametrize(
    ("host", "path", "base_url"),
    [
        ("gw.corp", "v1", "https://gw.corp/v1"),
        ("gw.corp", "/portkey/v1/", "https://gw.corp/portkey/v1"),
        ("gw.corp", "portkey", "https://gw.corp/portkey/v1"),
        ("https://gw.corp/own", "portkey", "https://gw.corp/own/v1"),
        ("gw.corp", "", "https://gw.corp/v1"),
    ],
)
def test_path_completes_only_a_url_without_one(host: str, path: str, base_url: str) -> None:
    assert normalise_base_url(host, None, path) == base_url


@pytest.mark.parametrize("host", ["https://api.portkey.ai", "localhost:8787/v1/", "gw.corp/portkey"])
def test_a_base_url_is_returned_unchanged(host: str) -> None:
    once = normalise_base_url(host)
    assert normalise_base_url(once) == once


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ftp://gw.corp", "an http or https URL"),
        ("https://", "an http or https URL"),
        ("https:///v1", "an http or https URL"),
        ("https://user:word@gw.corp", "without user name and password"),
        ("user@gw.corp", "without user name and password"),
        ("https://gw.corp/v1?key=1", "without '?' and '#'"),
        ("gw.corp#part", "without '?' and '#'"),
        ("https://gw corp", "without white space"),
        ("https://gw.corp/a b", "without white space"),
        ("https://gw.corp/a\nb", "without white space"),
        ("https://gw.corp/a\x00b", "without white space"),
        ("https://gw.corp/a\u200bb", "without white space"),
    ],
)
def test_an_invalid_host_is_refused_with_what_is_expected(host: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected.replace("?", r"\?")):
        normalise_base_url(host)


@pytest.mark.parametrize("host", ["gw.corp:http", "https://gw.corp:99999", "http://[::1"])
def test_an_invalid_port_or_address_is_refused_with_what_is_expected(host: str) -> None:
    with pytest.raises(ValueError, match="an http or https URL"):
        normalise_base_url(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("http://a..b", "labels with 1 to 63"),
        ("http://.gw.corp", "labels with 1 to 63"),
        ("http://-gw.corp", "labels with 1 to 63"),
        ("http://gw*.corp", "labels with 1 to 63"),
        ("http://gw%2Ecorp", "labels with 1 to 63"),
        (f"http://{'a' * 64}.corp", "labels with 1 to 63"),
        (f"http://{'.'.join(['a' * 60] * 5)}", "labels with 1 to 63"),
        ("http://gw\\corp", "without a backslash"),
        ("http://gw.corp\\@other", "without a backslash"),
        ("http://gw.corp:0", "a port from 1 to 65535"),
        ("http://gw.corp:65536", "a port from 1 to 65535"),
        ("http://gw.corp:-1", "a port from 1 to 65535"),
        ("http://[zzz]", "a valid host"),
        ("http://g\u2100w.corp", "a valid host|letters that domain names"),
    ],
)
def test_a_host_that_cannot_be_is_refused_with_what_is_expected(host: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        normalise_base_url(host)


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("my_gateway:8080", "https://my_gateway:8080/v1"),
        ("gw.corp.", "https://gw.corp./v1"),
        (f"{'a' * 63}.corp", f"https://{'a' * 63}.corp/v1"),
        ("gätewäy.example:8443", "https://xn--gtewy-grad.example:8443/v1"),
        ("127.0.0.2:8787", "http://127.0.0.2:8787/v1"),
    ],
)
def test_a_host_that_can_be_is_accepted(host: str, base_url: str) -> None:
    assert normalise_base_url(host) == base_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8787/v1", True),
        ("http://127.8.9.10/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://localhost.corp/v1", False),
        ("http://127.0.0.1.corp/v1", False),
        ("http://[::1", False),
    ],
)
def test_loopback_is_this_machine_itself(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
