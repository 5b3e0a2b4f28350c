from __future__ import annotations

import pytest

from airflow_provider_portkey.client.base_url import normalise_base_url


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
