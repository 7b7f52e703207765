"""Kubernetes quantities are read exactly, and invalid ones are refused."""

from decimal import Decimal

import pytest

from posecluster_operator.resource.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"), ("2", "2"), ("500m", "0.5"), ("0.1", "0.1"), ("1.5Gi", "1610612736"), ("1k", "1000"),
        ("1Ki", "1024"), ("1M", "1000000"), ("1Mi", "1048576"), ("1G", "1000000000"),
        ("16Ti", "17592186044416"), ("1T", "1000000000000"), ("9" * 19 + "T", "9" * 19 + "0" * 12),
    ],
)  # fmt: skip
def test_a_quantity_is_read_exactly(text: str, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", " ", "m", "Gi", "-1", "+1", "1e3", "1.2.3", "1Gb", "1mm", "1iK", "1 Gi", "٣", "1E", "."]
)
def test_an_invalid_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a quantity|invalid"):
        parse_quantity(text)
