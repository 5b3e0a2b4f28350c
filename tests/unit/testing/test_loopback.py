"""The start and the stop of the server."""

from __future__ import annotations

import socket
import threading

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer


def server_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "portkey-mock-server"}


@pytest.fixture
def threads_before() -> set[threading.Thread]:
    """The threads of mock servers that other tests share."""
    return server_threads()


def test_a_delay_ends_when_the_mock_server_stops(threads_before: set[threading.Thread]) -> None:
    with PortkeyMockServer() as mock_server:
        mock_server.fault(delay=3600)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{mock_server.url}/models", timeout=0.05)
    assert server_threads() == threads_before


def test_a_download_that_is_not_read_ends_when_the_mock_server_stops(
    threads_before: set[threading.Thread], capfd: pytest.CaptureFixture[str]
) -> None:
    with PortkeyMockServer() as mock_server:
        # More than the buffers of a connection hold.
        mock_server.add_file("x" * 50_000_000, file_id="f")
        url = f"{mock_server.url}/files/f/content"
        response = requests.get(url, headers={"Authorization": "x"}, timeout=5, stream=True)
    assert server_threads() == threads_before
    response.close()
    assert capfd.readouterr().err == ""


def test_a_stopped_server_refuses_connections() -> None:
    with PortkeyMockServer() as mock_server:
        pass
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{mock_server.url}/models", timeout=5)


def test_a_port_in_use_is_an_error_and_a_given_port_is_taken(threads_before: set[threading.Thread]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), PortkeyMockServer(port=port):
            pass
    assert server_threads() == threads_before
    with PortkeyMockServer(port=port) as mock_server:
        assert mock_server.url == f"http://127.0.0.1:{port}/v1"
