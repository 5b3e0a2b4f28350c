"""Which worker of pytest-xdist runs what: a file is one unit, and so are all tests on the real Airflow."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

_AIRFLOW = "tests/e2e/"
#: Files there that need the gateway only, or have an Airflow of their own.
_APART = ("tests/e2e/test_gateway", "tests/e2e/test_cluster")


class FileScheduling(LoadScopeScheduling):
    """
    Assign whole files, in the order of collection.

    The tests on the real Airflow share one, and kill its parts: they are the first unit, so that one worker has them
    from the start, while another worker has all the rest.
    """

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _AIRFLOW if file.startswith(_AIRFLOW) and not file.startswith(_APART) else file
