"""Proxies and CA bundles of the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_provider_portkey.client.environment import ca_bundle, proxy_for, tls_context
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

URL = "https://gw.corp:8443/v1"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own variables do not count."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": " proxy:3128 "}, "http://proxy:3128"),
        ({"https_proxy": "https://user:pw@proxy"}, "https://user:pw@proxy"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"ALL_PROXY": "proxy:1"}, "http://proxy:1"),
        ({"all_proxy": "proxy:1", "https_proxy": "proxy:2"}, "http://proxy:2"),
        ({"https_proxy": "lower:1", "HTTPS_PROXY": "upper:2"}, "http://lower:1"),
        ({"https_proxy": ""}, None),
    ],
)
def test_the_proxy_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert proxy_for(URL) == proxy


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        (URL, "gw.corp", True),
        (URL, "corp", True),
        (URL, ".corp", True),
        (URL, "gw.corp:8443", True),
        (URL, "gw.corp:443", False),
        (URL, "other, gw.corp , third", True),
        (URL, "*", True),
        (URL, "gw.corporate", False),
        ("http://10.1.2.3/v1", "10.0.0.0/8", True),
        ("http://10.1.2.3:8787/v1", "192.168.0.0/16, 10.0.0.0/8", True),
        ("http://11.1.2.3/v1", "10.0.0.0/8", False),
        ("http://10.1.2.3/v1", "10.1.2.3", True),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_names_hosts_ports_and_networks(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, no_proxy: str, is_direct: bool
) -> None:
    monkeypatch.setenv("all_proxy", "proxy:1")
    monkeypatch.setenv(name, no_proxy)

    assert (proxy_for(url) is None) is is_direct


@pytest.mark.parametrize("proxy", ["socks5://user:hidden-word@proxy:1080", "http://", "http://proxy:99999"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)

    with pytest.raises(PortkeyConnectionInvalidError, match=r"The proxy of the environment for gw\.corp") as raised:
        proxy_for(URL)

    assert "hidden-word" not in str(raised.value)


def test_the_ca_bundle_is_the_first_of_connection_environment_and_certifi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/not-read-by-requests")
    assert str(ca_bundle(True)).endswith("cacert.pem")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl")
    assert ca_bundle(True) == "/curl"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests")
    assert ca_bundle(True) == "/requests"
    assert ca_bundle("/own") == "/own"
    assert ca_bundle(False) is None


def test_a_folder_of_certificates_is_a_bundle(tmp_path: Path) -> None:
    assert tls_context(str(tmp_path)) is not None
    assert tls_context(ca_bundle(True)) is not None
    assert tls_context(None) is None


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_a_bundle_that_is_absent_or_broken_is_refused(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)

    with pytest.raises(PortkeyConnectionInvalidError, match=r"The CA bundle '.*ca\.pem' cannot be used") as raised:
        tls_context(str(bundle))

    assert raised.value.__context__ is None
    assert os.fspath(bundle) in str(raised.value)
