"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Open a browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is locked for the newest Airflow only")
    # Chromium has no sandbox for root; what the tests open is on loopback or on this disk.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def _executable() -> str:
    """Return Chromium's path; root installs the Debian package where it is missing."""
    if not (found := _installed()) and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-q", *command], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        found = _installed()
    if not found:
        pytest.fail("Chromium is not installed: apt-get install chromium.")
    return found


def _installed() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)
