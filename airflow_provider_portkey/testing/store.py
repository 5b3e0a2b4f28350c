"""What all resources share: lists in pages, the clock, the lock, new ids, files on disk, and plans for jobs to come."""

from __future__ import annotations

import re
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_portkey.testing.faults import ApiError, bad_request

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.resources.files import Files
    from airflow_provider_portkey.testing.resources.log_exports import Logs
    from airflow_provider_portkey.testing.resources.threads import Threads

#: Portkey's schema states no bounds of a limit; the servers behind it reject anything above 100.
DEFAULT_LIMIT, MAX_LIMIT = 20, 100

#: The kinds of jobs that a client can create over HTTP.
PLANNED_KINDS = ("runs", "responses", "batches", "file_batches", "log_exports")

T = TypeVar("T")


class Items(Generic[T]):
    """Items in the order of their creation, by id. A page costs what its own length costs."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._positions

    def check_new(self, item_id: str) -> None:
        """Raise a ``ValueError`` for an id that is taken."""
        if item_id in self._positions:
            raise ValueError(f"The id '{item_id}' is already taken")

    def add(self, item_id: str, item: T) -> T:
        """Append the newest item; see :meth:`check_new`."""
        self.check_new(item_id)
        self._positions[item_id] = len(self._items)
        self._items.append(item)
        return item

    def find(self, kind: str, item_id: str) -> T:
        """Find an item by its id, which may be stored percent-encoded, or raise a 404 that names its kind."""
        for stored in (item_id, quote(item_id, safe="!*'()")):
            if stored in self._positions:
                return self._items[self._positions[stored]]
        raise ApiError(404, f"No {kind} found with id '{item_id}'.")

    def page(self, query: Mapping[str, str], serialize: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
        """Return the page that ``limit``, ``order`` and ``after`` of a request select, as the list endpoints do."""
        limit, order, after = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", "desc"), query.get("after")
        if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
            raise bad_request(f"'limit' has to be 1 to {MAX_LIMIT}, not '{limit}'.", param="limit")
        if order not in ("asc", "desc"):
            raise bad_request(f"'order' has to be 'asc' or 'desc', not '{order}'.", param="order")
        if query.get("before"):
            raise bad_request("The mock server does not page backwards.", param="before")
        if after and after not in self._positions:
            raise bad_request(f"'after' names '{after}', which is not in this list.", param="after")
        total, start = len(self._items), 0
        if after:
            position = self._positions[after]
            start = position + 1 if order == "asc" else total - position
        stop = min(start + int(limit), total)
        items = self._items[start:stop] if order == "asc" else self._items[total - stop : total - start][::-1]
        data = [serialize(item) for item in items]
        first_id, last_id = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": stop < total}


@dataclass(kw_only=True)
class Store:
    """What the resources share; see :class:`.PortkeyMockServer` for the parameters."""

    clock: Callable[[], float]
    run_seconds: float = 2.0
    run_steps: int = 2
    #: Held while anything here or in a resource is read or changed.
    lock: threading.RLock = field(default_factory=threading.RLock)
    threads: Threads = field(init=False)
    files: Files = field(init=False)
    logs: Logs = field(init=False)
    _id_counts: Counter[str] = field(default_factory=Counter)
    _plans: dict[str, list[repeat[dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    _folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def new_id(self, prefix: str, taken: Container[str] = ()) -> str:
        """Return the next id of a kind that is not taken: ``run_000001``, ``run_000002`` ..."""
        while True:
            self._id_counts[prefix] += 1
            new_id = f"{prefix}_{self._id_counts[prefix]:06d}"
            if new_id not in taken:
                return new_id

    def plan(self, kind: str, *, times: int | None = 1, **parameters: Any) -> None:
        """
        Declare the scenario of jobs that a client will create over HTTP.

        :param kind: ``runs``, ``responses``, ``batches``, ``file_batches`` or ``log_exports``.
        :param times: the number of jobs; ``None`` for all that follow.
        :param parameters: those of the ``add`` method of that kind.
        :raises ValueError: for any other kind.
        """
        if kind not in PLANNED_KINDS:
            raise ValueError(f"kind has to be one of {', '.join(PLANNED_KINDS)}, not {kind!r}")
        with self.lock:
            self._plans[kind].append(repeat(parameters) if times is None else repeat(parameters, times))

    def take_plan(self, kind: str) -> dict[str, Any]:
        """Return the planned parameters of a job that is being created; empty without a plan."""
        return dict(next(chain.from_iterable(self._plans[kind]), {}))

    def write_file(self, chunks: Iterable[bytes]) -> Path:
        """Write a file that exists until :meth:`close`."""
        with tempfile.NamedTemporaryFile(dir=self._folder.name, delete=False) as file:
            file.writelines(chunks)
        return Path(file.name)

    def close(self) -> None:
        """Delete the files."""
        self._folder.cleanup()
