"""Texts for conditions: messages without volatile parts, so that the same fact has the same text."""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

LONGEST = 512
_LONGEST_READ = 4_096
_MOST_NAMES = 3
# the alphabet of random names (k8s.io/apimachinery/pkg/util/rand) and template hashes
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_SUBSTITUTES = (
    # times: RFC 3339 and similar formats, then the prefix of a glog line
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"), ""),
    (re.compile(r"(?<!\S)[IWEF]\d{4} \d\d:\d\d:[\d.]+ +\d+ "), ""),
    # ids: UUIDs, containers (but not image digests), memory addresses, processes
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "id"),
    (re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b"), "id"),
    (re.compile(r"\b0x[0-9a-fA-F]{4,16}\b"), "id"),
    (re.compile(r"\bpid[ =:]\d+"), "pid"),
    # IP addresses, with or without a port
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.]\d)"), "address"),
    (re.compile(r"\[[0-9a-fA-F:]*:[0-9a-fA-F:.]*\](?::\d{1,5})?"), "address"),
    # the current usage in a message about an exceeded quota
    (re.compile(r", used: [^ ]+(?=, limited: )"), ""),
)


def stable(message: str, *, keep: Collection[str] = (), prefix: str = "") -> str:
    """Return `message` on one line without times, ids, addresses and random names, at most LONGEST long.

    `keep`: texts to leave unchanged, such as an image whose registry is an IP address.
    `prefix`: names with this prefix and a random suffix, such as pods of a Deployment, are cut to the prefix.
    """
    line = " ".join(message[:_LONGEST_READ].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    kept = sorted(filter(None, keep), key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, kept)) + ")", line) if kept else [line]
    clean = (part if part in kept else _substituted(part, prefix) for part in parts)
    return " ".join("".join(clean).split())[:LONGEST].rstrip()


def _substituted(part: str, prefix: str) -> str:
    for pattern, substitute in _SUBSTITUTES:
        part = pattern.sub(substitute, part)
    if not prefix:
        return part
    random_end = rf"(?<![\w.-]){re.escape(prefix)}-{_RANDOM}{{1,10}}(?:-{_RANDOM}{{5}}|-)?(?![\w-])"
    return re.sub(random_end, lambda _match: prefix, part)


def stamp(moment: datetime) -> str:
    """Return an aware datetime in the format of Kubernetes timestamps."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def first_names(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
