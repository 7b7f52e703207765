"""Copy descriptions to the schema of the chart's values and to the table in its README.

They come from the comments in values.yaml, and those of `operator.settings` from the operator's settings.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_KEY = re.compile(r"(?P<indent> *)(?P<name>[A-Za-z]+):(?: |$)")
_START, _END = "<!-- values: made by make manifests -->\n", "<!-- values: end -->"
_SETTINGS, _HELM_S_OWN = "operator.settings", "global"

Json = dict[str, Any]


def descriptions(text: str) -> dict[str, str]:
    """The comment right above each key of a values.yaml, by the key's path: `operator.image.tag`."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("# "):
            comment.append(line.strip().removeprefix("# "))
            continue
        if match := _KEY.match(line):
            path = [*path[: len(match["indent"]) // 2], match["name"]]
            if comment:
                found[".".join(path)] = " ".join(comment)
        comment = []
    return found


def read(chart: Path, settings: Mapping[str, str]) -> tuple[Json, Json]:
    """The values, and the schema with all descriptions; ValueError if one is missing.

    `settings`: the meaning of each setting of the operator, by its name in the chart.
    """
    text = (chart / "values.yaml").read_text(encoding="utf-8")
    schema: Json = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    comments = descriptions(text)
    meanings = {
        f"{_SETTINGS}.{name}": f"{meaning[0].upper()}{meaning[1:]}." for name, meaning in settings.items()
    }
    for path, one in keys(schema):
        if path in comments:
            one["description"] = comments.pop(path)
        elif path in meanings:
            one["description"] = meanings[path]
        elif "description" not in one:
            raise ValueError(f"values.yaml has no comment above {path}, and its schema no description")
    if comments:
        raise ValueError(f"values.schema.json lacks {', '.join(comments)}")
    return yaml.safe_load(text), schema


def keys(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every key that a user may set, and its schema; not what is inside lists or Kubernetes' own types."""
    for name, child in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, child
        yield from keys(child, place)


def filled(page: str, values: Json, schema: Json) -> str:
    """`page` with the table of values between its marker lines; ValueError if they are missing."""
    if page.count(_START) != 1 or page.count(_END) != 1:
        raise ValueError("the chart's README.md lacks the marker lines of its values")
    before, _, rest = page.partition(_START)
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _rows(values, schema))
    table = f"| value | default | allowed | meaning |\n|---|---|---|---|\n{rows}".replace("|  |", "| |")
    return f"{before}{_START}\n{table}\n{_END}{rest.partition(_END)[2]}"


def _rows(values: Json, schema: Json) -> Iterator[tuple[str, ...]]:
    for path, one in keys(schema):
        if "properties" not in one or path == _SETTINGS:
            cells = f"`{path}`", _default(values, path), _allowed(one, schema), one["description"]
            yield tuple(cell.replace("|", "\\|") for cell in cells)


def _default(values: Json, path: str) -> str:
    value: Any = values
    for name in path.split("."):
        value = value.get(name, {} if path == _HELM_S_OWN else None)
    if value is None:
        return "the operator's"
    return "empty" if value in ("", [], {}) else f"`{_text(value)}`"


def _text(value: Any) -> str:
    return json.dumps(value).strip('"')


def _allowed(one: Json, schema: Json) -> str:
    if "enum" in one:
        return ", ".join(f"`{_text(value)}`" if value != "" else "empty" for value in one["enum"])
    if "minimum" in one:
        return f"{one['minimum']}-{one['maximum']}"
    if "$ref" in one:
        title: str = schema["definitions"][one["$ref"].rpartition("/")[2]]["title"]
        return title
    return {"object": "map", "array": "list", "string": "text", "boolean": "`true`, `false`"}[one["type"]]
