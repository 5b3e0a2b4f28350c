from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, ObjectStoragePath

from airflow_provider_portkey.exceptions import (
    PortkeyDestinationExistsError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyPathError,
)
from airflow_provider_portkey.export.atomic import (
    atomic_write,
    check_destination,
    file_path,
    names_of,
    path_text,
    refuse_existing,
    uri_of,
)
from airflow_provider_portkey.export.partition import folder_path


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that takes the temporary files of uploads."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def in_memory(memory_store: str, temporary_folder: Path) -> ObjectStoragePath:
    return ObjectStoragePath(f"{memory_store}/folder/steps.jsonl")


@pytest.fixture
def memory_connections(memory_store: str) -> None:
    """The store in memory opens with these connections."""
    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach
    from fsspec.implementations.memory import MemoryFileSystem

    for conn_id in ("some_conn", "other", "team/store", "a#b", "a?b"):
        attach("memory", conn_id, fs=MemoryFileSystem())


def write(path: ObjectStoragePath, *chunks: bytes, overwrite: bool = True) -> Any:
    with atomic_write(path, overwrite=overwrite) as written:
        for chunk in chunks:
            written.stream.write(chunk)
    return written


@pytest.mark.usefixtures("memory_connections")
@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("memory://some_conn@bucket/steps", None, "memory://some_conn@/bucket/steps"),
        ("memory://bucket/steps", "some_conn", "memory://some_conn@/bucket/steps"),
        ("memory://some_conn@bucket/steps", "other", "memory://some_conn@/bucket/steps"),
        ("memory://bucket/a@b", "other", "memory://other@/bucket/a@b"),
        ("memory://bucket/steps", None, "memory:///bucket/steps"),
    ],
)
def test_the_connection_is_that_of_the_path_or_else_the_one_that_is_given(
    path: str, given: str | None, expected: str
) -> None:
    for read in (file_path, folder_path):
        opened = read(path, given)
        assert path_text(opened) == path_text(read(expected, None)) == expected
        assert uri_of(opened) == expected.replace("some_conn@", "").replace("other@", "")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("abfs://box@account/steps.jsonl", r"for abfs:// here: pip install 'apache-airflow-providers-microsoft-azure'"),
        ("s4://bucket/steps.jsonl", "for s4:// here: correct the path"),
    ],
)
def test_a_store_without_its_provider_is_named_with_what_to_install(path: str, named: str) -> None:
    with pytest.raises(AirflowOptionalProviderFeatureException, match=named):
        file_path(path, None)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_file_is_written_with_its_size_and_hash(tmp_path: Path, scheme: str) -> None:
    final = tmp_path / "new" / "folders" / "steps.jsonl"

    written = write(ObjectStoragePath(f"{scheme}{final}"), b"one\n", b"two\n")

    assert final.read_bytes() == b"one\ntwo\n"
    assert written.bytes == 8
    assert written.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert [entry.name for entry in final.parent.iterdir()] == ["steps.jsonl"]


def test_nothing_is_at_the_final_path_before_the_end_of_the_block(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"
    with atomic_write(ObjectStoragePath(str(final))) as written:
        written.stream.write(b"half")
        written.stream.flush()
        assert not final.exists()
        assert [entry.name.startswith(".") for entry in tmp_path.iterdir()] == [True]

    assert final.read_bytes() == b"half"


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_in_the_block_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), atomic_write(ObjectStoragePath(str(tmp_path / "steps.jsonl"))) as written:
        written.stream.write(b"half")
        raise error

    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_leaves_the_earlier_file(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"
    final.write_bytes(b"earlier")

    with pytest.raises(RuntimeError), atomic_write(ObjectStoragePath(str(final))) as written:
        written.stream.write(b"half")
        raise RuntimeError

    assert final.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [final]


def test_an_earlier_file_is_replaced(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"
    final.write_bytes(b"something longer that was here earlier")

    write(ObjectStoragePath(str(final)), b"new")

    assert final.read_bytes() == b"new"


def test_an_existing_file_that_must_stay_is_refused(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"
    path = ObjectStoragePath(str(final))
    refuse_existing(path, overwrite=False)
    final.write_bytes(b"earlier")
    refuse_existing(path, overwrite=True)

    with pytest.raises(PortkeyDestinationExistsError, match=f"{final} exists"):
        refuse_existing(path, overwrite=False)


def test_a_file_that_appears_meanwhile_and_must_stay_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"

    with (
        pytest.raises(PortkeyDestinationExistsError),
        atomic_write(ObjectStoragePath(str(final)), overwrite=False) as written,
    ):
        written.stream.write(b"mine")
        final.write_bytes(b"of another process")

    assert final.read_bytes() == b"of another process"
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_file_has_the_mode_that_the_umask_gives(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write(ObjectStoragePath(str(tmp_path / "steps.jsonl")), b"x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "steps.jsonl").stat().st_mode) == mode


def test_an_empty_file_is_written_too(tmp_path: Path) -> None:
    written = write(ObjectStoragePath(str(tmp_path / "steps.jsonl")))

    assert (tmp_path / "steps.jsonl").read_bytes() == b""
    assert (written.bytes, written.sha256) == (0, hashlib.sha256(b"").hexdigest())


def test_what_is_written_may_be_any_buffer(tmp_path: Path) -> None:
    written = write(ObjectStoragePath(str(tmp_path / "f")), bytearray(b"ab"), memoryview(b"cd").cast("b"))

    assert (tmp_path / "f").read_bytes() == b"abcd"
    assert written.bytes == 4


def test_an_object_store_gets_the_file_in_one_upload(in_memory: ObjectStoragePath, temporary_folder: Path) -> None:
    with atomic_write(in_memory) as written:
        written.stream.write(b"one\n")
        written.stream.flush()
        assert not in_memory.exists()
        written.stream.write(b"two\n")

    assert in_memory.read_bytes() == b"one\ntwo\n"
    assert written.bytes == 8
    assert written.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert list(temporary_folder.iterdir()) == []


def test_an_error_in_the_block_uploads_nothing(in_memory: ObjectStoragePath, temporary_folder: Path) -> None:
    with pytest.raises(RuntimeError), atomic_write(in_memory) as written:
        written.stream.write(b"half")
        raise RuntimeError

    assert not in_memory.exists()
    assert list(temporary_folder.iterdir()) == []


def test_an_object_that_appears_meanwhile_and_must_stay_is_kept(
    in_memory: ObjectStoragePath, temporary_folder: Path
) -> None:
    with pytest.raises(PortkeyDestinationExistsError), atomic_write(in_memory, overwrite=False) as written:
        written.stream.write(b"mine")
        in_memory.fs.pipe_file(in_memory.path, b"of another process")

    assert in_memory.read_bytes() == b"of another process"
    assert list(temporary_folder.iterdir()) == []


def test_an_object_of_another_size_than_was_uploaded_is_an_error(
    in_memory: ObjectStoragePath, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_half(self: Any, source: str, target: str, **kwargs: Any) -> None:
        self.pipe_file(target, Path(source).read_bytes()[:2])

    monkeypatch.setattr(type(in_memory.fs), "put_file", put_half)

    with pytest.raises(PortkeyError, match="has 2 bytes after an upload of 4"):
        write(in_memory, b"four")

    assert list(temporary_folder.iterdir()) == []


def test_the_uri_of_an_object_names_protocol_and_path_without_the_connection() -> None:
    path = ObjectStoragePath("memory://some_conn@portkey-tests/folder/steps.jsonl")

    assert uri_of(path).startswith("memory://")
    assert uri_of(path).endswith("/portkey-tests/folder/steps.jsonl")
    assert "some_conn" not in uri_of(path)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_uri_of_a_local_file_has_its_protocol(tmp_path: Path, scheme: str) -> None:
    assert uri_of(ObjectStoragePath(f"{scheme}{tmp_path}/steps.jsonl")) == f"file://{tmp_path}/steps.jsonl"


@pytest.mark.parametrize(
    "name",
    [
        "steps.jsonl",
        "scheduled__2026-11-22T00:00:00+00:00 100%.jsonl",
    ],
)
def test_the_uri_leads_the_next_task_to_the_file(tmp_path: Path, name: str) -> None:
    path = ObjectStoragePath(str(tmp_path / name))
    write(path, b"content")

    assert ObjectStoragePath(uri_of(path)).read_bytes() == b"content"


def test_a_relative_path_has_a_uri_and_an_absolute_path() -> None:
    path = ObjectStoragePath("steps.jsonl")
    whole = os.path.abspath(path.path)

    assert names_of(path, "error_") == {"error_uri": f"file://{whole}", "error_path": whole}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_path_has_no_connection(tmp_path: Path, scheme: str) -> None:
    assert path_text(file_path(f"{scheme}{tmp_path}/a@b.jsonl", "some_conn")) == f"{tmp_path}/a@b.jsonl"


@pytest.mark.usefixtures("memory_connections")
@pytest.mark.parametrize("conn_id", ["team/store", "a#b", "a?b"])
def test_an_id_that_ends_the_host_of_a_url_is_not_in_the_path(conn_id: str) -> None:
    assert path_text(file_path("memory://bucket/steps.jsonl", conn_id)) == uri_of(
        file_path("memory://bucket/steps.jsonl", None)
    )


def test_the_uri_of_an_object_leads_to_it(in_memory: ObjectStoragePath) -> None:
    write(in_memory, b"content")

    assert ObjectStoragePath(uri_of(in_memory)).read_bytes() == b"content"


@pytest.mark.parametrize(
    "path", ["/tmp/a\nb.jsonl", "/tmp/a\0.jsonl", "/tmp/a.jsonl\n", "s3://b/\x1b[2J.jsonl", "/tmp/\ud83d"]
)
def test_a_path_with_control_characters_is_refused(path: str) -> None:
    for read in (file_path, folder_path):
        with pytest.raises(PortkeyInvalidArgumentError, match=r"^error_path="):
            read(path, None, field="error_path")


def test_a_path_of_digits_is_a_path() -> None:
    assert file_path(20261101, None).name == "20261101"  # type: ignore[arg-type]


def check(path: Path | str) -> None:
    check_destination(ObjectStoragePath(str(path)), overwrite=True)


def test_a_destination_that_can_be_written_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_bytes(b"earlier")

    check(tmp_path / "steps.jsonl")
    check(tmp_path / "new" / "steps.jsonl")

    assert (tmp_path / "steps.jsonl").read_bytes() == b"earlier"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_at_the_path_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(PortkeyPathError, match=f"^{tmp_path} cannot be written: Is a directory. The path must be"):
        check(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PortkeyPathError, match="cannot be written"):
        check(tmp_path / "file" / "steps.jsonl")


@pytest.mark.parametrize(("length", "fits"), [(255, True), (256, False)])
def test_a_name_that_is_too_long_is_noticed(tmp_path: Path, length: int, fits: bool) -> None:
    path = tmp_path / ("a" * length)
    if fits:
        check(path)
        write(ObjectStoragePath(str(path)), b"x")
        assert path.read_bytes() == b"x"
        return
    with pytest.raises(PortkeyPathError, match="File name too long"):
        check(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_place_that_takes_nothing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync" if number == errno.ENOSPC else "os.open", refuse)

    with pytest.raises(PortkeyPathError, match=os.strerror(number)):
        check(tmp_path / "steps.jsonl")


def test_a_disk_that_fills_up_later_is_a_typed_error_too(tmp_path: Path) -> None:
    """A limit of the process for the size of files stands for a full disk: the same path through ``write()``."""
    script = f"""
import resource, signal
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow_provider_portkey.exceptions import PortkeyPathError
from airflow_provider_portkey.export.atomic import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    with atomic_write(ObjectStoragePath("{tmp_path}/steps.jsonl")) as written:
        for _ in range(100):
            written.stream.write(b"x" * 1024)
except PortkeyPathError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert f"{tmp_path}/steps.jsonl cannot be written: File too large." in found.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_parts_of_killed_processes_go_before_the_next_attempt_fetches_anything(
    tmp_path: Path, in_memory: ObjectStoragePath, temporary_folder: Path
) -> None:
    for folder in (tmp_path, temporary_folder):
        (folder / ".steps.jsonl.0123abcd.part").touch()
        (folder / ".other.jsonl.0123abcd.part").touch()

    check(tmp_path / "steps.jsonl")
    check_destination(in_memory, overwrite=True)

    assert not list(tmp_path.rglob(".steps*"))
    assert len(list(tmp_path.rglob(".other*"))) == 2


def test_the_umask_of_the_process_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.umask", lambda mask: pytest.fail("the umask belongs to the whole process"))

    check(tmp_path / "steps.jsonl")
    write(ObjectStoragePath(str(tmp_path / "steps.jsonl")), b"x")
