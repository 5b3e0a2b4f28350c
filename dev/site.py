"""The documentation site: built with warnings as errors, and served on loopback."""

from __future__ import annotations

import functools
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dev.paths import CACHE, ROOT
from dev.steps import StepFailedError, step

#: Where the site is built unless the caller names a folder.
FOLDER = CACHE / "site"


def build(folder: Path = FOLDER) -> None:
    """
    Build the site from ``docs/``.

    :param folder: For the HTML files.
    :raises StepFailedError: Sphinx has found something wrong; the message has Sphinx's lines.
    """
    doctrees = ("-d", str(CACHE / "doctrees"))
    options = ("-b", "html", "--fail-on-warning", "--nitpicky", "--quiet", "--jobs", "auto", *doctrees)
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder)]
    with step("the site"):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise StepFailedError(f"Sphinx exited with {done.returncode}:\n{done.stdout.strip()}")


def serve(folder: Path = FOLDER, *, port: int = 0) -> None:
    """
    Serve the built site on loopback until Ctrl-C.

    :param folder: As of :func:`build`.
    :param port: 0 for any free one.
    """
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/  Ctrl-C stops it.", flush=True)
        server.serve_forever()
