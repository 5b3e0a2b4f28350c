from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

PATH = "/vector_stores/vs/file_batches/b"


def test_a_file_batch_counts_its_files(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    statuses = [("in_progress", 0), ("completed", 10)]
    mock_server.add_file_batch(vector_store_id="vs", batch_id="b", files=10, failed=3, statuses=statuses)
    seen = []
    for seconds in (0, 5, 3, 2):
        clock.now += seconds
        batch = call("GET", PATH)
        counts = batch["file_counts"]
        assert sum(counts.values()) == 2 * counts["total"] == 20
        seen.append((batch["status"], counts["in_progress"], counts["completed"], counts["failed"]))
    assert seen == [
        ("in_progress", 10, 0, 0),
        ("in_progress", 5, 5, 0),
        ("in_progress", 2, 7, 1),
        ("completed", 0, 7, 3),
    ]
    assert (batch["object"], batch["vector_store_id"]) == ("vector_store.file_batch", "vs")


def test_a_cancelled_file_batch_counts_cancelled_files(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    statuses = [("in_progress", 0), ("completed", 10)]
    mock_server.add_file_batch(vector_store_id="vs", batch_id="b", files=4, statuses=statuses)
    clock.now += 5
    batch = call("POST", f"{PATH}/cancel")
    counts = {"in_progress": 0, "completed": 2, "failed": 0, "cancelled": 2, "total": 4}
    assert (batch["status"], batch["file_counts"]) == ("cancelled", counts)
    assert call("GET", PATH) == batch
    call("POST", f"{PATH}/cancel", status=400)


def test_a_file_batch_belongs_to_its_vector_store(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_file_batch(vector_store_id="vs", batch_id="b", statuses="failed")
    assert call("GET", PATH)["status"] == "failed"
    call("GET", "/vector_stores/other/file_batches/b", status=404)
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_file_batch(vector_store_id="vs", batch_id="b")


def test_a_client_may_create_a_file_batch(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.plan("file_batches", statuses="in_progress", failed=1)
    created = call("POST", "/vector_stores/vs/file_batches", json={"file_ids": ["a", "b"]})
    assert (created["vector_store_id"], created["file_counts"]["total"]) == ("vs", 2)
    assert call("GET", f"/vector_stores/vs/file_batches/{created['id']}") == created


@pytest.mark.parametrize("body", [{}, {"file_ids": []}, {"file_ids": "a"}])
def test_a_file_batch_needs_files(call: Any, body: dict[str, Any]) -> None:
    assert call("POST", "/vector_stores/vs/file_batches", json=body, status=400)["error"]["param"] == "file_ids"
