"""
Cost rows in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

The costs are Portkey's own estimates, by its price list of models, and no invoice: list, contracted, effective and
billed cost are the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from airflow_provider_portkey.export.window import Window, format_timestamp
from airflow_provider_portkey.jobs.list_spec import FixedColumns

#: The version of FOCUS; the newest that focus-validator 2.2.1 has rules for.
FOCUS_VERSION = "1.2"
#: Portkey's contract has cents, and its log exports name the currency ``USD``.
CURRENCY = "USD"
_PROVIDER = "Portkey"
_UNIT = "Tokens"

#: The columns of a table, in the order of FOCUS; own dimensions begin with ``x_``.
FOCUS_COLUMNS = FixedColumns(
    {
        "BilledCost": "number",
        "BillingAccountId": "text",
        "BillingAccountName": "text",
        "BillingCurrency": "text",
        "BillingPeriodEnd": "timestamp",
        "BillingPeriodStart": "timestamp",
        "ChargeCategory": "text",
        "ChargeClass": "text",
        "ChargeDescription": "text",
        "ChargeFrequency": "text",
        "ChargePeriodEnd": "timestamp",
        "ChargePeriodStart": "timestamp",
        "ConsumedQuantity": "number",
        "ConsumedUnit": "text",
        "ContractedCost": "number",
        "EffectiveCost": "number",
        "InvoiceId": "text",
        "InvoiceIssuerName": "text",
        "ListCost": "number",
        "PricingCategory": "text",
        "PricingQuantity": "number",
        "PricingUnit": "text",
        "ProviderName": "text",
        "PublisherName": "text",
        "ServiceCategory": "text",
        "ServiceName": "text",
        "ServiceSubcategory": "text",
        "x_GroupBy": "text",
        "x_GroupValue": "text",
    }
)


def focus_row(row: Mapping[str, Any], *, window: Window, tokens: float) -> dict[str, Any]:
    """
    Return a cost row in the columns of FOCUS.

    :param row: A row of the report ``cost``.
    :param window: The interval of the row, within one month.
    :param tokens: The tokens of the same requests.
    """
    # Decimal: 7 cents are 0.07, and not 0.07000000000000001.
    cost = float(Decimal(str(row["cost_cents"] or 0)) / 100)
    month = window.start.replace(day=1, hour=0, minute=0, second=0)
    group_by, value = row["group_by"], row["group_value"]
    about = f", {group_by} {value}" if group_by else ""
    values = {
        "BilledCost": cost,
        "BillingAccountId": row["workspace_slug"],
        "BillingAccountName": None,
        "BillingCurrency": CURRENCY,
        "BillingPeriodEnd": format_timestamp(_next_month(month)),
        "BillingPeriodStart": format_timestamp(month),
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": _ascii(f"Requests through Portkey, workspace {row['workspace_slug']}{about}"),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": format_timestamp(window.end),
        "ChargePeriodStart": format_timestamp(window.start),
        "ConsumedQuantity": float(tokens),
        "ConsumedUnit": _UNIT,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceId": None,
        "InvoiceIssuerName": _PROVIDER,
        "ListCost": cost,
        "PricingCategory": "Standard",
        "PricingQuantity": float(tokens),
        "PricingUnit": _UNIT,
        "ProviderName": _PROVIDER,
        "PublisherName": _ascii(value) if group_by == "provider" and value else _PROVIDER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Portkey AI Gateway",
        "ServiceSubcategory": "Generative AI",
        "x_GroupBy": group_by,
        "x_GroupValue": value,
    }
    return {name: values[name] for name in FOCUS_COLUMNS}


def _ascii(text: str) -> str:
    """Return a text as the validator of FOCUS wants its strings; own dimensions keep theirs."""
    return text.encode("ascii", "backslashreplace").decode()


def _next_month(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
