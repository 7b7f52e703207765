"""Dataclass fields with bounds, the counterparts of the CRD's validation keywords.

`parsing` checks the metadata of each field: `low` and `high` of a number; `longest` and `pattern` of a text;
`least` and `most` items of a list, and their class (`item`).
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

Json = Mapping[str, Any]

# Kubernetes names (RFC 1123 subdomains), keys of labels and annotations, and values of labels
_DOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
NAME_PATTERN = f"^{_DOMAIN}$"
KEY_PATTERN = f"^({_DOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
LABEL_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
IMAGE_PATTERN = "^[A-Za-z0-9][-A-Za-z0-9._:/@]*$"
QUANTITY_PATTERN = "^[0-9]+([.][0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
CIDR_PATTERN = "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"
ANY_TEXT = "(?s:.*)"
LONGEST_NAME, LONGEST_KEY, LONGEST_LABEL, LONGEST_QUANTITY = 253, 317, 63, 20
LONGEST_CIDR, LONGEST_ORIGIN = 43, 255


def number(default: int | None, low: int, high: int) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def text(default: str | None, longest: int, pattern: str) -> Any:
    return field(default=default, metadata={"longest": longest, "pattern": pattern})


def required_text(longest: int, pattern: str) -> Any:
    return field(metadata={"longest": longest, "pattern": pattern})


def objects(most: int, item: type, *keys: str) -> Any:
    """Return a list of objects that are checked as class `item` but kept unparsed; `keys` must be unique."""
    return field(default=(), metadata={"most": most, "item": item, "keys": keys})


def required_objects(most: int, item: type) -> Any:
    """Return a list as `objects` does, with at least one item."""
    return field(metadata={"most": most, "least": 1, "item": item, "keys": ()})


def one_object(item: type) -> Any:
    """Return an object that is checked as class `item` but kept unparsed."""
    return field(default_factory=dict, metadata={"item": item})


def texts(most: int, longest: int, pattern: str) -> Any:
    return field(default=(), metadata={"most": most, "longest": longest, "pattern": pattern})


def networks(most: int) -> Any:
    """Return a list of IP networks in CIDR notation."""
    rules = {"most": most, "longest": LONGEST_CIDR, "pattern": CIDR_PATTERN, "format": "cidr"}
    return field(default=(), metadata=rules)


def mapping(most: int, longest: int, pattern: str) -> Any:
    return field(default_factory=dict, metadata={"most": most, "longest": longest, "pattern": pattern})
