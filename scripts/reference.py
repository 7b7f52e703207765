"""Generate the tables of docs/reference.md from the CRD and the lists of reasons.

Usage: reference.py [--check]. Only the text between its marker lines is replaced; `--check`
changes nothing and exits with 1 if the page is not up to date.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operator"))

from posecluster_common import origins
from posecluster_operator.builders.environment import FIELDS, PREFIX, WITHOUT_FIELD
from posecluster_operator.resource.fields import (
    CIDR_PATTERN,
    IMAGE_PATTERN,
    KEY_PATTERN,
    LABEL_PATTERN,
    NAME_PATTERN,
    QUANTITY_PATTERN,
)
from posecluster_operator.resource.reasons import REASONS, ConditionType

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
CRD = ROOT / "crds" / "poseclusters.yaml"
_FORMS = {
    NAME_PATTERN: "a Kubernetes name",
    KEY_PATTERN: "a label's key",
    LABEL_PATTERN: "a label's value",
    IMAGE_PATTERN: "no spaces",
    QUANTITY_PATTERN: "such as `500m`, `2`, `1Gi`",
}
_ITEM_FORMS = {
    CIDR_PATTERN: ", such as `10.0.0.0/8`",
    origins.PATTERN: ", such as `https://app.example.com`, or `*`",
}


def blocks() -> dict[str, str]:
    """The generated parts of the page, by the name in their marker lines."""
    (version,) = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    columns = version["additionalPrinterColumns"]
    return {
        "spec": _table("field type default allowed meaning", _fields(schema["properties"]["spec"])),
        "rules": "".join(f"- {message}\n" for message in dict.fromkeys(_rules(schema))),
        "settings": _table(
            "variable field",
            (
                *((f"`{PREFIX}{name}`", f"`{field}`") for name, field in FIELDS.items()),
                *((f"`{PREFIX}{name}`", f"none: {reason}") for name, reason in WITHOUT_FIELD.items()),
            ),
        ),
        "status": _table("field type meaning", _status_fields(schema["properties"]["status"])),
        "columns": _table(
            "column from meaning",
            (
                (
                    one["name"],
                    f"`{one['jsonPath']}`",
                    one.get("description", "Time since the PoseCluster was created."),
                )
                for one in columns
            ),
        ),
        "conditions": "\n".join(
            f"**{kind}**: {kind.meaning}.\n"
            + (
                "\n" + _table("reason meaning", ((f"`{reason}`", reason.meaning) for reason in REASONS[kind]))
                if kind in REASONS
                else ""
            )
            for kind in ConditionType
        ),
    }


def filled(text: str) -> str:
    """`text` with every generated part in its place; ValueError if a marker line is missing."""
    for name, block in blocks().items():
        start, end = f"<!-- {name}: made by make reference -->\n", f"<!-- {name}: end -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"docs/reference.md lacks the marker lines of {name}")
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{block}\n{end}{rest.partition(end)[2]}"
    return text


def _leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        if "properties" not in child:
            yield place, child
        yield from _leaves(child, place)
        yield from _leaves(child.get("items", {}), f"{place}[]")


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, one in _leaves(schema):
        default = f"`{_literal(one['default'])}`" if "default" in one else ""
        yield f"`{path}`", _kind(one), default, _allowed(one), one["description"]


def _status_fields(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for path, one in _leaves(schema):
        yield f"`{path}`", _kind(one), one["description"]


def _kind(one: dict[str, Any]) -> str:
    if "x-kubernetes-int-or-string" in one:
        return "quantity"
    if "additionalProperties" in one:
        return "map"
    return {"array": "list", "string": "time" if one.get("format") == "date-time" else "text"}.get(
        one["type"], one["type"]
    )


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _allowed(one: dict[str, Any]) -> str:
    if one.get("type") == "boolean":
        return "`false`, `true`"
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if one.get("type") == "integer":
        return f"{one['minimum']}-{one['maximum']}"
    if "maxItems" in one:
        form = _ITEM_FORMS.get(one["items"].get("pattern"), "")
        return f"{one.get('minItems', 'up')} to {one['maxItems']}{form}"
    if "maxProperties" in one:
        longest = one["additionalProperties"]["maxLength"]
        return f"up to {one['maxProperties']}, values up to {longest} characters"
    form = _FORMS[one["pattern"]]
    return form if "x-kubernetes-int-or-string" in one else f"{form}, up to {one['maxLength']} characters"


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    yield from (_marked(rule["message"]) for rule in schema.get("x-kubernetes-validations", []))
    for child in (*schema.get("properties", {}).values(), schema.get("items", {})):
        if child:
            yield from _rules(child)


def _marked(message: str) -> str:
    """Names of fields as code."""
    return re.sub(r"\b[a-z]+(?:[A-Z][a-z]+)+\b|\b[a-z]+(?:\.[a-zA-Z]+)+\b(?![./])", r"`\g<0>`", message)


def _table(head: str, lines: Iterable[tuple[str, ...]]) -> str:
    columns = head.split()
    rows = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines)
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n{rows}".replace("|  |", "| |")


def main() -> int:
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print("docs/reference.md is out of date: run make reference", file=sys.stderr)
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
