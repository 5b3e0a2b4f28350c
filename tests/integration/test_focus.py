"""The official validator of FOCUS checks the files of ``columns="focus"``, and refuses files that are wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.analytics_to_object_storage import PortkeyAnalyticsToObjectStorageOperator
from dev.focus import PYTHON, validate
from dev.pythons import find_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first one installs the validator
    pytest.mark.skipif(find_python(PYTHON) is None, reason=f"focus-validator 2.2.1 needs Python {PYTHON}"),
]

#: Rules that every file breaks, whatever it has: of two alternatives ("null without an invoice", "not null with
#: one") the validator fails the one that is not the case, and passes the rule that wants either.
ALTERNATIVES = {"InvoiceId-C-004-C", "InvoiceId-C-005-C"}
#: Column to a value that is wrong, and the rule that refuses the value.
WRONG = {
    "BillingCurrency": ("Dollar", "BillingCurrency-C-003-M"),
    "ChargeCategory": ("Usge", "ChargeCategory-C-003-M"),
    "BilledCost": ("", "BilledCost-C-003-M"),
    "ServiceCategory": ("Portkey", "ServiceCategory-C-003-M"),
    "ChargePeriodStart": ("2026-06-28", "ChargePeriodStart-C-002-M"),
    "PricingQuantity": ("", "PricingUnit-C-005-C"),
}
MODELS = ["openai__small", "anthropic__large"]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Export the cost of a week around the end of a month."""

    def export(file_format: str, **arguments: Any) -> Path:
        path = tmp_path / f"focus.{file_format}"
        with PortkeyMockServer() as server:
            monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
            server.add_analytics_requests(
                {
                    "created_at": f"2026-{month:02}-{day:02}T10:00:00Z",
                    "provider": model.partition("__")[0],
                    "model": model.partition("__")[2],
                    "cost_cents": 0.0125 * day,
                    "metadata": {"team": f"team {day % 3}", "_user": 'Üser, "1"\''},
                }
                for month, day in ((6, 28), (6, 29), (6, 30), (7, 1), (7, 3))
                for model in MODELS
            )
            PortkeyAnalyticsToObjectStorageOperator(
                task_id="focus",
                report="cost",
                columns="focus",
                workspace_slug="ws-1",
                window_start="2026-06-28T06:00:00Z",
                window_end="2026-07-05T00:00:00Z",
                path=str(path),
                file_format=file_format,
                **arguments,
            ).execute({})
        return path

    return export


@pytest.mark.parametrize(
    ("file_format", "arguments"),
    [
        ("csv", {}),
        ("parquet", {}),
        ("csv", {"group_by": "user"}),
        ("parquet", {"group_by": "metadata.team", "interval": "hour"}),
        ("csv", {"group_by": "provider", "models": MODELS}),
    ],
)
def test_the_validator_accepts_the_file(export: Any, file_format: str, arguments: dict[str, Any]) -> None:
    passed, failed = validate(export(file_format, **arguments))
    assert failed <= ALTERNATIVES
    assert passed > 130


def test_the_validator_refuses_a_wrong_file(export: Any) -> None:
    """In one file: to start the validator takes longer than to check it."""
    path = export("csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["BillingAccountId"]
        row.update({column: value for column, (value, _) in WRONG.items()})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    _, failed = validate(path)
    assert {"BillingAccountId-C-000-M", *(rule for _, rule in WRONG.values())} <= failed


def test_a_file_that_is_none_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="focus-validator ended with"):
        validate(tmp_path / "none.csv")
