"""Run with ``python3 -m dev``; kept to syntax that any Python reads, so that an old one gets a plain message."""

import sys


def main():
    # type: () -> int
    """Refuse a Python that Airflow does not run on, hand the rest to ``dev.commands``."""
    if sys.version_info < (3, 11):  # noqa: UP036
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit("python3 -m dev needs Python 3.11, 3.12 or 3.13; this is %s (%s)." % (found, sys.executable))  # noqa: UP031
    if sys.platform == "win32":
        sys.exit("python3 -m dev needs Linux or macOS (on Windows: WSL), as Airflow does.")
    from dev.commands import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
