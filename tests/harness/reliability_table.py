"""Write the table of docs/reliability.md from build/acceptance.json.

Usage: python tests/harness/reliability_table.py [--check]. Only the text between the two marker
lines is replaced; `--check` changes nothing and exits with 1 if the table is not up to date.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.checks import CHECKS

ROOT = Path(__file__).resolve().parents[2]
START = "<!-- acceptance table: made by tests/harness/reliability_table.py -->"
END = "<!-- end of acceptance table -->"
_HEAD = (
    "| check | tier | state | figure measured last | bar | sample | control | tests | seed | commit | date |"
    "\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def table(record: dict[str, Any]) -> str:
    """The Markdown table: a line per check and tier, also for those that never ran (open)."""
    known = {(line["number"], line["tier"]): line for line in record.get("checks", [])}
    wanted = {(number, tier) for number, (_, tiers) in CHECKS.items() for tier in tiers}
    return _HEAD + "".join(
        _line(number, tier, known.get((number, tier))) for number, tier in sorted(wanted | set(known))
    )


def _line(number: int, tier: str, entry: dict[str, Any] | None) -> str:
    title = f"{number} {CHECKS[number][0]}"
    if entry is None:
        return _row(title, tier, "open", *[""] * 8)
    figures = entry["figures"]
    return _row(
        title,
        tier,
        entry["state"],
        "<br>".join(f"{figure['name']} {figure['value']} {figure['unit']}".strip() for figure in figures),
        "<br>".join(figure["bar"] for figure in figures),
        "<br>".join(str(figure["sample"]) for figure in figures),
        "<br>".join([entry["control"], *(figure["control"] for figure in figures if figure["control"])]),
        "<br>".join(_files(entry["tests"])),
        entry["seed"],
        entry["commit"],
        entry["date"],
    )


def _files(tests: list[str]) -> list[str]:
    """The names of the files that these tests ("tests/unit/test_x.py::test_y") are in."""
    return sorted({test.split("::")[0].rpartition("/")[2] for test in tests})


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def replaced(text: str, new: str) -> str:
    """`text` with `new` between the markers; raises ValueError if they are not both there."""
    if START not in text or END not in text:
        raise ValueError("docs/reliability.md lacks the marker lines of the table")
    before, rest = text.split(START, 1)
    return f"{before}{START}\n{new}{END}{rest.split(END, 1)[1]}"


def main() -> int:
    document = ROOT / "docs" / "reliability.md"
    record_file = ROOT / "build" / "acceptance.json"
    if not record_file.is_file():
        print("No build/acceptance.json: run make test first", file=sys.stderr)
        return 1
    old = document.read_text(encoding="utf-8")
    new = replaced(old, table(json.loads(record_file.read_text(encoding="utf-8"))))
    if "--check" in sys.argv[1:]:
        return int(new != old)
    document.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
