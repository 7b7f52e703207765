"""Commands that run under a limit on descriptors, and the limits of a process."""

from pathlib import Path


def limited(command: tuple[str, ...], *, soft: int, hard: int | None = None) -> tuple[str, ...]:
    """The command, with these limits on descriptors; without `hard`, the hard limit is unchanged."""
    limits = f"ulimit -Sn {soft}" + (f" && ulimit -Hn {hard}" if hard is not None else "")
    return ("sh", "-c", f'{limits} && exec "$@"', "sh", *command)


def descriptor_limits(pid: int) -> tuple[str, str]:
    """Soft and hard limit of a process, as the kernel writes them."""
    for line in Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
            return soft, hard
    raise AssertionError("no such limit")
