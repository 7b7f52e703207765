"""A Dockerfile as a list of instructions, and the rules for ours."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LOWEST_UID = 10_000
_BASE = "${BASE_IMAGE}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its lines joined; comments are gone."""

    name: str
    text: str


def parse(text: str) -> list[Instruction]:
    """The instructions in their order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.split(maxsplit=1) for line in joined.splitlines())
    return [Instruction(name.upper(), text.strip()) for name, text in parts]


def broken_promises(text: str, version: str) -> list[str]:
    """What is not as docs/images.md says, a line each; `version` is the project's."""
    return [*_sources(parse(text), version), *_process(parse(text))]


def _sources(instructions: list[Instruction], version: str) -> Iterator[str]:
    arguments = dict(one.text.partition("=")[::2] for one in instructions if one.name == "ARG")
    defaults = [one.text for one in instructions if one.name == "ARG" and one.text.startswith("BASE_IMAGE=")]
    if len(defaults) != 1 or not re.fullmatch(r"BASE_IMAGE=[\w./-]+:(?!latest)[\w.-]+", defaults[0]):
        yield f"BASE_IMAGE has no default with a tag: {defaults}"
    if arguments.get("VERSION") != version:
        yield f"VERSION is {arguments.get('VERSION')}, the project's {version}"
    stages = {_BASE}
    for one in instructions:
        if one.name == "FROM":
            source, _, stage = one.text.partition(" AS ")
            if source not in stages:
                yield f"FROM {source}: neither BASE_IMAGE nor a stage"
            stages.add(stage)
        if one.name == "ADD" or (one.name == "RUN" and re.search(r"\b(curl|wget)\b", one.text)):
            yield f"{one.name} brings something that nobody checked: {one.text}"
        if one.name == "RUN":
            for command in re.findall(r"pip\S*(?: --python \S+)? install\b[^&|;]*", one.text):
                if "--require-hashes" not in command and "--no-index" not in command:
                    yield f"installed without hashes: {command.strip()}"


def _process(instructions: list[Instruction]) -> Iterator[str]:
    last = max(index for index, one in enumerate(instructions) if one.name == "FROM")
    parent = instructions[last].text
    start = next(
        index
        for index, one in enumerate(instructions)
        if one.name == "FROM" and one.text.endswith(f" AS {parent}")
    )
    end = next(index for index, one in enumerate(instructions) if index > start and one.name == "FROM")
    image = [*instructions[start:end], *instructions[last:]]
    users = [one.text for one in image if one.name == "USER"]
    if not users or not all(part.isdigit() and int(part) >= _LOWEST_UID for part in users[-1].split(":")):
        yield f"USER is not numeric from {_LOWEST_UID} on: {users}"
    checks = [
        index for index, one in enumerate(instructions) if one.name == "FROM" and one.text.endswith("check")
    ]
    checked_as = [one.text for one in instructions[checks[0] : last] if one.name == "USER"] if checks else []
    if not checked_as or checked_as[-1] in ("0", *users):
        yield f"the check does not run under a user that owns nothing: {checked_as}"
    for name in ("ENTRYPOINT", "CMD"):
        values = [one.text for one in image if one.name == name]
        if len(values) != 1 or not _exec_form(values[0]):
            yield f"{name} is not one list of words: it would want a shell: {values}"
    if any("PYTHONDONTWRITEBYTECODE" in one.text or "PYTHONOPTIMIZE" in one.text for one in instructions):
        yield "PYTHONDONTWRITEBYTECODE or PYTHONOPTIMIZE is set"
    labels = " ".join(one.text for one in image if one.name == "LABEL")
    for label in ("title", "description", "version", "revision", "licenses", "base.name"):
        if f"org.opencontainers.image.{label}=" not in labels:
            yield f"no label org.opencontainers.image.{label}"


def _exec_form(text: str) -> bool:
    try:
        words = json.loads(text)
    except ValueError:
        return False
    return isinstance(words, list) and all(isinstance(word, str) for word in words)
