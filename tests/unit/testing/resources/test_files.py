from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer

CONTENT = b"".join(b'{"line": %d}\n' % number for number in range(20_000))


def upload(call: Any, content: bytes = CONTENT, purpose: str = "batch", **kwargs: Any) -> Any:
    form = {"data": {"purpose": purpose}, "files": {"file": ("in.jsonl", content, "application/jsonl")}}
    return call("POST", "/files", **form, **kwargs)


def test_an_upload_is_returned_byte_for_byte(mock_server: PortkeyMockServer, call: Any, fetch: Any) -> None:
    # Bytes that resemble the form's own boundaries.
    content = CONTENT + b"\r\n--\r\n-\r--boundary" + bytes(range(256))
    made = upload(call, content)
    assert (made["object"], made["bytes"], made["filename"]) == ("file", len(content), "in.jsonl")
    assert call("GET", f"/files/{made['id']}") == made
    response = fetch("GET", f"/files/{made['id']}/content")
    assert response.content == content
    assert response.headers["Content-Length"] == str(len(content))
    assert mock_server.requests[0].body == b"", "an upload is not held in memory"


@pytest.mark.parametrize(
    ("range_", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        (f"bytes=5-{len(CONTENT) * 2}", 5, len(CONTENT)),
    ],
)
def test_a_range_of_a_file(mock_server: PortkeyMockServer, fetch: Any, range_: str, start: int, stop: int) -> None:
    mock_server.add_file(CONTENT.decode(), file_id="f")
    response = fetch("GET", "/files/f/content", status=206, headers={"Range": range_})
    assert response.content == CONTENT[start:stop]
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"


def test_a_range_beyond_the_file_is_a_416(mock_server: PortkeyMockServer, fetch: Any) -> None:
    mock_server.add_file("abc", file_id="f")
    rejected = fetch("GET", "/files/f/content", status=416, headers={"Range": "bytes=3-"})
    assert rejected.headers["Content-Range"].endswith("*/3")
    changed = {"Range": "bytes=1-", "If-Range": '"another"'}
    assert fetch("GET", "/files/f/content", headers=changed).content == b"abc"


def test_a_download_is_cut(mock_server: PortkeyMockServer, fetch: Any) -> None:
    mock_server.add_file(CONTENT.decode(), file_id="f")
    fault = mock_server.fault(path="*/content", cut_after=150_000)
    with fetch("GET", "/files/f/content", stream=True) as response:
        assert response.headers["Content-Length"] == str(len(CONTENT))
        assert response.raw.read(150_000) == CONTENT[:150_000]
        with pytest.raises(Exception, match="IncompleteRead"):
            response.raw.read()
    assert fault.struck == 1
    assert fetch("GET", "/files/f/content").content == CONTENT


def test_a_bad_upload_is_a_400(call: Any) -> None:
    assert upload(call, purpose="fun", status=400)["error"]["param"] == "purpose"
    form = {"headers": {"Content-Type": "multipart/form-data; boundary=b"}}
    call("POST", "/files", status=400, data=b"no form", **form)
    truncated = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc'
    )
    assert call("POST", "/files", status=400, data=truncated, **form)["error"]["param"] == "file"
    call("POST", "/files", status=400, data=b"--b\r\n--b--\r\n", headers={"Content-Type": "multipart/form-data"})
    call("POST", "/files", status=400, json={"purpose": "batch"})
    nothing = {"data": {"purpose": "batch"}, "files": {"other": ("x", b"x")}}
    assert call("POST", "/files", status=400, **nothing)["error"]["param"] == "file"


def test_an_upload_without_a_key_is_rejected(mock_server: PortkeyMockServer) -> None:
    form = {"data": {"purpose": "batch"}, "files": {"file": ("x", b"x")}}
    assert requests.post(f"{mock_server.url}/files", timeout=5, **form).status_code == 401
    assert len(mock_server.requests) == 1


def test_an_unknown_file_is_a_404_and_an_id_is_unique(mock_server: PortkeyMockServer, call: Any, fetch: Any) -> None:
    call("GET", "/files/unknown", status=404)
    call("GET", "/files/unknown/content", status=404)
    mock_server.add_file(["a", "b"], file_id="f")
    assert call("GET", "/files/f")["bytes"] == 4
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_file("", file_id="f")
    assert fetch("GET", "/files/f/content").text == "a\nb\n", "the file that was there is unchanged"


def test_files_are_listed_newest_first(mock_server: PortkeyMockServer, call: Any) -> None:
    for number in range(3):
        mock_server.add_file("text", filename=f"{number}.jsonl")
    page = call("GET", "/files?limit=2")
    assert [file["filename"] for file in page["data"]] == ["2.jsonl", "1.jsonl"]
    assert page["has_more"] is True
