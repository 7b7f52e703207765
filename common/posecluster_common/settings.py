"""Reads the fields of a frozen dataclass from environment variables and command-line flags.

A field `max_pixels` is read from the variable `<PREFIX>MAX_PIXELS` and the flag `--max-pixels`; the flag
takes precedence.
"""

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_LONGEST_NUMBER = 20


def number(default: int | None, low: int, high: int, meaning: str) -> Any:
    """Declare a whole number from `low` to `high`; if the default is None, an empty value means unset."""
    return field(default=default, metadata={"low": low, "high": high, "help": meaning})


def choice(default: str, allowed: Sequence[str], meaning: str) -> Any:
    """Declare a text with the allowed values `allowed`."""
    return field(default=default, metadata={"allowed": tuple(allowed), "help": meaning})


def text(default: str, meaning: str) -> Any:
    """Declare any text."""
    return field(default=default, metadata={"help": meaning})


def items(comma_list: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list, in order, without duplicates and surrounding spaces."""
    return tuple(dict.fromkeys(item for part in comma_list.split(",") if (item := part.strip())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Generic[T]):
    """Reads the settings of one program.

    `cls` declares the fields. `check` raises `error` if their values contradict each other. `others` are the
    names, without the prefix, of variables that other programs read.
    """

    cls: type[T]
    prefix: str
    error: type[Exception]
    check: Callable[[T], None]
    others: Collection[str] = ()

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add a flag for each setting; if the flag is unset, the environment variable applies."""
        for item in fields(self.cls):
            parser.add_argument(
                "--" + item.name.replace("_", "-"),
                metavar="N" if "low" in item.metadata else "TEXT",
                # argparse formats its help texts with %
                help=f"{item.metadata['help']} (default: {item.default!r})".replace("%", "%%"),
            )

    def load(self, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> T:
        """Read and check all settings; raises `error` with one line that names the invalid setting."""
        values: dict[str, int | str] = {}
        for item in fields(self.cls):
            variable = self.prefix + item.name.upper()
            given = flags.get(item.name)
            if given is None:
                given = environment.get(variable)
            if given is not None and (given.strip() or item.default is not None):
                values[item.name] = self._parse(variable, given.strip(), item.metadata)
        settings = self.cls(**values)
        self.check(settings)
        return settings

    def unknown_variables(self, environment: Mapping[str, str]) -> list[str]:
        """Return the variables that have the prefix but match no setting; most likely they are misspelled."""
        names = {item.name.upper() for item in fields(self.cls)}.union(self.others)
        known = {self.prefix + name for name in names}
        return sorted(name for name in environment if name.startswith(self.prefix) and name not in known)

    def _parse(self, variable: str, given: str, rules: Mapping[str, Any]) -> int | str:
        if "low" in rules:
            low, high = rules["low"], rules["high"]
            is_number = given.isascii() and given.isdigit() and len(given) <= _LONGEST_NUMBER
            if not (is_number and low <= int(given) <= high):
                raise self.error(f"{variable}={given[:80]!r}: must be a whole number from {low} to {high}")
            return int(given)
        allowed = rules.get("allowed", (given,))
        if given not in allowed:
            listed = ", ".join(word or "empty" for word in allowed)
            raise self.error(f"{variable}={given[:80]!r}: must be one of {listed}")
        return given
