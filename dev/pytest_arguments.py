"""How pytest is called: the whole suite on four processes."""

from __future__ import annotations

from collections.abc import Sequence

from dev.paths import ROOT

#: Three for the tests on real Airflows and for those that measure, which wait most of their time; one for all others.
_PROCESSES = ("-n", "4")
#: Options after which pytest has to run in this process, or that say themselves how many there are.
_OWN = ("-n", "-s", "-p", "--numprocesses", "--dist", "--pdb", "--trace", "--capture", "--collect-only", "--co")


def pytest_arguments(given: Sequence[str]) -> list[str]:
    """
    Return the arguments for pytest: four processes, unless the caller names tests or an option of their number.

    :param given: What the caller wrote.
    """
    names_tests = any((ROOT / argument.partition("::")[0]).exists() for argument in given if argument[:1] != "-")
    has_own = any(argument.partition("=")[0] in _OWN or argument.startswith("-n") for argument in given)
    return list(given) if names_tests or has_own else [*_PROCESSES, *given]
