from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.partition import file_name, folder_path, keep_only, stamp, sweep


@pytest.mark.parametrize(
    ("thread_id", "name"),
    [
        ("thread_abc", "thread_abc"),
        ("a/b", "a%2Fb"),
        ("ä b", "%C3%A4%20b"),
        ("_hidden", "%5Fhidden"),
        (".hidden", "%2Ehidden"),
        ("100%", "100%25"),
    ],
)
def test_any_id_is_a_name_that_readers_do_not_pass_over(thread_id: str, name: str) -> None:
    assert file_name(thread_id, "jsonl", None) == f"{name}.jsonl"


def test_ids_that_are_too_long_for_a_file_system_have_names_of_their_own() -> None:
    names = {file_name("ü" * 300 + end, "parquet", None) for end in "ab"}

    assert len(names) == 2
    assert all(len(name) < 200 for name in names)


@pytest.mark.parametrize(
    ("file_format", "compression", "suffix"),
    [
        ("jsonl", None, ".jsonl"),
        ("jsonl", "gzip", ".jsonl.gz"),
        ("csv", "zstd", ".csv.zst"),
        ("json", "gzip", ".json.gz"),
        ("parquet", "gzip", ".parquet"),
    ],
)
def test_the_suffix_says_what_is_in_it(file_format: str, compression: str | None, suffix: str) -> None:
    assert file_name("a", file_format, compression) == f"a{suffix}"


def test_a_timestamp_in_a_name_has_no_reserved_characters() -> None:
    assert stamp(datetime(2026, 11, 21, 7, 5, tzinfo=UTC)) == "20261121T070500Z"


@pytest.mark.parametrize("value", ["", " ", "/", "s3://", "file:///"])
def test_what_is_no_folder_is_refused(value: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^path="):
        folder_path(value, None)


def test_a_folder_may_end_with_a_slash(tmp_path: Path) -> None:
    assert str(folder_path(f"{tmp_path}/", None)).rstrip("/").endswith(str(tmp_path))


def fill(tmp_path: Path, *names: str) -> ObjectStoragePath:
    for name in names:
        (tmp_path / name).touch()
    return ObjectStoragePath(str(tmp_path))


def names(tmp_path: Path) -> list[str]:
    return sorted(entry.name for entry in tmp_path.iterdir())


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    folder = fill(tmp_path, ".a.jsonl.x1.part", ".b.json.x2.part", "a.part", ".hidden", "a.jsonl")

    sweep(folder, name="b.json")
    assert names(tmp_path) == [".a.jsonl.x1.part", ".hidden", "a.jsonl", "a.part"]
    sweep(folder)
    assert names(tmp_path) == [".hidden", "a.jsonl", "a.part"]


def test_only_files_of_exports_go(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a.jsonl", "b.csv.gz", "c.parquet", "d.json.zst", "_manifest.json", "notes.txt", "e.jsonl")

    keep_only(folder, lambda name: name == "a.jsonl")

    assert names(tmp_path) == ["_manifest.json", "a.jsonl", "notes.txt"]


def test_a_folder_that_is_not_there_needs_nothing(tmp_path: Path) -> None:
    folder = ObjectStoragePath(str(tmp_path / "none"))

    sweep(folder)
    keep_only(folder, lambda name: False)
