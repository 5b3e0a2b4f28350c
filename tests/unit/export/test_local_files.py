from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_portkey.exceptions import PortkeyPathError
from airflow_provider_portkey.export.local_files import part_file, path_errors, remove_parts

#: Writes to a file until the file's limit, or until it is killed.
WRITER = """
import sys, time
from pathlib import Path
from airflow_provider_portkey.export.local_files import part_file
with part_file(Path(sys.argv[1])) as (file, part):
    file.write(b"half")
    print(part.name, flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def start_writer(final: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, final], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    final = tmp_path / "steps.jsonl"
    killed, left = start_writer(final)
    living, used = start_writer(final)
    try:
        remove_parts(tmp_path, final.name)
        assert names(tmp_path) == sorted([left, used])

        killed.send_signal(signal.SIGKILL)
        killed.wait()
        remove_parts(tmp_path, "other.jsonl")
        assert names(tmp_path) == sorted([left, used])
        remove_parts(tmp_path, final.name)
        assert names(tmp_path) == [used]
    finally:
        for process in (killed, living):
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    for name in (".a.x.part", "a.part", ".hidden", "a"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.part").mkdir()
    (tmp_path / ".link.part").symlink_to(tmp_path / "a")

    remove_parts(tmp_path)

    assert names(tmp_path) == [".folder.part", ".hidden", ".link.part", "a", "a.part"]


def test_a_part_that_was_removed_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, left = fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        if not left:
            next(tmp_path.iterdir()).unlink()
            left.append(os.fstat(descriptor).st_nlink)
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", remove_first)

    with part_file(tmp_path / "a") as (file, part):
        assert part.exists()
        assert os.fstat(file.fileno()).st_nlink == 1
    assert left == [0]
    assert names(tmp_path) == []


def test_what_an_error_left_in_a_buffer_reaches_no_other_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), part_file(tmp_path / "a") as (file, _):
        file.write(b"half")
        raise RuntimeError

    assert file.closed
    assert names(tmp_path) == []


def test_an_error_of_closing_hides_no_other(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), part_file(tmp_path / "a") as (file, _):
        file.write(b"half")
        os.close(file.fileno())
        raise RuntimeError

    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "a" * 180, "a" * 181])
def test_a_temporary_name_is_never_too_long(tmp_path: Path, name: str) -> None:
    with part_file(tmp_path / name) as (_, part):
        (tmp_path / name).write_text("x")
        assert part.exists()
        part.rename(tmp_path / name)

    assert names(tmp_path) == [name]


def test_a_file_of_another_long_name_has_another_part(tmp_path: Path) -> None:
    with part_file(tmp_path / ("a" * 200 + "1")) as (file, part):
        file.close()
        remove_parts(tmp_path, "a" * 200 + "2")
        assert part.exists()
        remove_parts(tmp_path, "a" * 200 + "1")
        assert not part.exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written: No space left on device. Free space"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system. The file system is mounted read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied. Give the worker's user the right"),
        (
            FileNotFoundError("The specified bucket does not exist"),
            "does not exist. Check the path, and that its bucket",
        ),
        (OSError("odd"), "cannot be written: odd."),
        (OSError(), "cannot be written: OSError."),
    ],
)
def test_an_error_names_the_path_and_what_to_do(error: OSError, message: str) -> None:
    with (
        pytest.raises(PortkeyPathError, match=f"^s3://b/steps.jsonl .*{message}") as raised,
        path_errors("s3://b/steps.jsonl"),
    ):
        raise error

    assert raised.value.path == "s3://b/steps.jsonl"
    assert raised.value.__cause__ is error
