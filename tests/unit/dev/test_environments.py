"""When an environment is made anew, and what is said where it cannot be."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading

import pytest

from dev import environments
from dev.environments import AIRFLOW_VERSIONS, Environment, for_demo, for_tests
from dev.steps import StepFailedError


@pytest.fixture
def environment(tmp_path, monkeypatch) -> Environment:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / ".nox" / "3.11")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    lock = tmp_path / "test-9.9.txt"
    lock.write_text("apache-airflow==9.9\n")
    made = Environment("test(9.9)", lock, link=tmp_path / ".venv")
    made.python.parent.mkdir(parents=True)
    made.python.touch()
    return made


def test_there_is_a_lock_for_every_environment():
    for environment in (for_demo(), *map(for_tests, AIRFLOW_VERSIONS)):
        assert environment.lock.exists()


def test_it_is_current_once_it_is_marked_and_until_something_changes(environment, tmp_path):
    assert not environment.is_current()
    environment.mark_current()
    assert environment.is_current()
    for change in (
        lambda: environment.lock.write_text("apache-airflow==9.10\n"),
        lambda: (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n"),
        environment.python.unlink,
    ):
        environment.mark_current()
        change()
        assert not environment.is_current()


def test_the_python_that_was_used_last_has_the_link(environment, monkeypatch, tmp_path):
    environment.make_link()
    assert os.readlink(environment.link) == ".nox/3.11/test-9-9"
    monkeypatch.setattr(environments, "FOLDER", tmp_path / ".nox" / "3.13")
    environment.make_link()
    assert os.readlink(environment.link) == ".nox/3.13/test-9-9"


def test_a_folder_of_the_user_in_the_place_of_the_link_gives_way(environment):
    (environment.link / "bin").mkdir(parents=True)
    environment.make_link()
    assert environment.link.resolve() == environment.folder


def test_another_python_is_another_environment(environment, monkeypatch):
    environment.mark_current()
    monkeypatch.setattr(sys, "base_prefix", "/another/python")
    assert not environment.is_current()


def test_an_environment_without_a_link_makes_none(environment):
    dataclasses.replace(environment, link=None).make_link()
    assert not environment.link.exists()


def test_a_clone_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(environments, "LOGS", tmp_path / "file" / "logs")
    says = r"^this clone, .*, cannot be written to: Not a directory\.$"
    with pytest.raises(StepFailedError, match=says), environments.locked():
        pass


def test_only_one_command_installs_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "LOGS", tmp_path)
    monkeypatch.setattr(environments, "CACHE", tmp_path)
    order = []

    def second() -> None:
        with environments.locked():
            order.append("second")

    with environments.locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
