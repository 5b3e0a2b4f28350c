"""Wheel and source distribution: reproducible, with links that hold where they are shown."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path

import pytest

pytest.importorskip("build", reason="locked for the newest Airflow only")

ROOT = Path(__file__).parents[2]
HOME = "https://git.example.com/team/provider"


def build(source: Path, folder: Path, **env: str) -> dict[str, Path]:
    """Build both, and return them by suffix."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROJECT_")}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, env=clean | {"SOURCE_DATE_EPOCH": "1767225600"} | env, check=True, capture_output=True)
    return {file.suffix: file for file in folder.iterdir()}


def copy_of_sources(folder: Path) -> Path:
    """The files that git knows, as a fresh clone has them: with other timestamps and permissions."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return copy_of_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def without_home(sources, tmp_path_factory):
    return build(sources, tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def with_home(sources, tmp_path_factory):
    return build(sources, tmp_path_factory.mktemp("with"), PROJECT_HOME=f"{HOME}/")


def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return BytesParser(policy=compat32).parsebytes(archive.read(name))


def description(wheel: Path) -> str:
    return metadata(wheel).get_payload(decode=True).decode()


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)\s]+)\)", text))


def test_two_builds_have_the_same_bytes(sources, without_home, tmp_path):
    for file in sources.rglob("*.py"):
        os.utime(file, (1, 1))
    again = build(sources, tmp_path)
    assert again.keys() == without_home.keys() == {".whl", ".gz"}
    for suffix, file in without_home.items():
        assert hashlib.sha256(again[suffix].read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()


def test_without_a_home_no_link_leads_to_a_place_that_does_not_exist(without_home):
    assert metadata(without_home[".whl"]).get_all("Project-URL") is None
    text = description(without_home[".whl"])
    assert text.startswith("# airflow-provider-portkey\n")
    assert {
        link for link in links(text) if not link.startswith(("https://portkey.ai", "https://airflow.apache.org"))
    } == set()
    assert "![" not in text
    assert "quickstart" in text


def test_with_a_home_every_link_is_absolute_and_to_a_file_that_exists(with_home):
    found = metadata(with_home[".whl"])
    version = found["Version"]
    urls = dict(line.split(", ") for line in found.get_all("Project-URL"))
    assert urls["Source"] == HOME
    assert urls.keys() == {"Documentation", "Changelog", "Source", "Issues"}
    text = description(with_home[".whl"])
    assert f"]({HOME}/raw/v{version}/docs/images/overview.svg)" in text
    own = {link for link in links(text) if link.startswith(HOME)}
    assert len(own) > 30
    for link in own:
        path = re.fullmatch(rf"{HOME}/(?:raw|blob)/v{version}/([^#]+)(?:#.+)?", link)
        assert path, link
        assert (ROOT / path[1]).is_file(), link
    assert all(link.startswith("https://") for link in links(text))


def test_the_readme_has_one_picture_and_fits_a_screen_or_three():
    text = (ROOT / "README.md").read_text()
    assert len(re.findall(r"!\[", text)) == 1
    assert len(text.splitlines()) < 150


def test_the_metadata_is_whole(without_home):
    found = metadata(without_home[".whl"])
    for field in ("Author", "Maintainer", "Summary", "License-Expression", "Requires-Python", "Keywords"):
        assert found[field], field
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["Metadata-Version"] == "2.4"


def test_the_source_distribution_has_examples_docs_and_tests(without_home):
    with tarfile.open(without_home[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("example_dags/portkey_batch.py", "docs/conf.py", "docs/images/overview.svg", "tests/conftest.py"):
        assert name in names
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "LICENSE", "hatch_build.py"):
        assert name in names
    assert not {name for name in names if name.startswith((".", "docs/_build")) and name != ".gitignore"}


def test_the_wheel_has_the_package_alone(without_home):
    with zipfile.ZipFile(without_home[".whl"]) as archive:
        tops = {name.split("/")[0].split("-")[0] for name in archive.namelist()}
    assert tops == {"airflow_provider_portkey"}


def test_the_wheel_of_the_source_distribution_is_the_same(without_home, tmp_path):
    with tarfile.open(without_home[".gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build(source, tmp_path / "dist")
    assert again[".whl"].read_bytes() == without_home[".whl"].read_bytes()
