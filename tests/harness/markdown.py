"""Reads the tables and fenced blocks of a Markdown page, so that tests can compare them with the code."""

import re


def rows(text: str, *columns: str) -> list[list[str]]:
    """The cells of every table with just these columns."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells == list(columns):
            inside = True
        elif not cells:
            inside = False
        elif inside and set(line) - set("|-: "):
            found.append(cells)
    return found


def blocks(text: str, language: str) -> list[str]:
    """The contents of every fenced block of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def plain(cell: str) -> str:
    """A cell without its code marks."""
    return cell.strip("`")
