"""The tests: ``python3 -m dev test``, with any arguments of pytest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dev import gateway
from dev.phases import phase
from dev.places import ROOT, clean_environ


def run(arguments: Sequence[str]) -> NoReturn:
    """
    Make the gateway's packages ready and become pytest, so that its exit code and every signal are its own.

    :param arguments: For pytest; all of ``tests/`` where none names a file or folder.
    :raises PhaseFailed: The gateway could not be fetched.
    """
    print("Tests", flush=True)
    with phase("packages of the gateway"):
        gateway.install()
    os.chdir(ROOT)
    sys.stdout.flush()
    environ = clean_environ(Path(sys.prefix))
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *arguments], environ)
