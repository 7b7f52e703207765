"""Kubernetes quantities, limited to the formats that the CRD allows."""

from decimal import Decimal

_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def parse_quantity(text: str) -> Decimal:
    """Return the value of a quantity such as `500m`, `2` or `1Gi`; raises ValueError."""
    number = text.rstrip("mkKMGTi")
    factor = _SUFFIXES.get(text[len(number) :])
    if factor is None or not number.replace(".", "", 1).isdigit() or not number.isascii():
        raise ValueError(f"{text[:40]!r} is not a quantity such as 500m, 2 or 1Gi")
    return Decimal(number) * factor
