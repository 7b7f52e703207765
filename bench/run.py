"""`make bench`: the server compared with its upper bound and with a simple server, in one run.

What is compared is measured in turns, so that a change in the machine's speed affects all; the figures
are medians over the rounds. Prints the table, keeps every figure in
build/bench.json, and with --write puts the table into docs/performance.md.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench import page, picture, processes

_PACKAGES = ("mediapipe", "aiohttp", "opencv-python-headless", "numpy")
_PLAIN_PORT = 18_099
_OTHER_VARIANTS = ("lite", "heavy")  # beside `full`, with which everything else is measured
Figures = dict[str, Any]


def one_round(model: Path, file: Path, data: bytes, options: argparse.Namespace, number: int) -> Figures:
    """Measure everything once; `number` keeps the pictures of the rounds apart."""
    first = number * 10_000_000
    workers, seconds = options.workers, options.seconds
    figures: Figures = {}
    with processes.ours(workers, options.folder / f"ours-{number}.log") as server:
        figures["ready_seconds"] = server.ready_seconds
        pairs = []
        for turn in range(options.turns):
            # the idle server costs the bare processes nothing
            together = processes.bare(model, file, workers, seconds)
            bare_rate = sum(one["count"] / one["seconds"] for one in together)
            ours = processes.wrk(server.port, file, seconds, options.connections, first + turn * 100_000)
            pairs.append((bare_rate, ours))
        figures["bare_rate"] = median(bare_rate for bare_rate, _ours in pairs)
        figures["ratio"] = median(ours["rate"] / bare_rate for bare_rate, ours in pairs)
        figures["ours"] = {key: median(ours[key] for _bare, ours in pairs) for key in pairs[0][1]}
        figures["memory"] = server.memory()
        figures["single"] = processes.one_client(server.port, model, file, seconds, first + 1_000_000)
        capacity = figures["ours"]["rate"]
        figures["steady"] = processes.open_loop(server.port, file, 0.7 * capacity, seconds, first + 2_000_000)
        figures["overload"] = processes.open_loop(
            server.port, file, 3 * capacity, options.overload_seconds, first + 3_000_000
        )
        figures["memory_after_overload"] = server.memory()
    for variant in _OTHER_VARIANTS:
        log = options.folder / f"{variant}-{number}.log"
        with processes.ours(workers, log, POSECLUSTER_MODEL_VARIANT=variant) as server:
            figures[variant] = processes.wrk(
                server.port, file, seconds, options.connections, first + 5_000_000
            )
    with processes.plain(model, data, _PLAIN_PORT) as server:
        figures["plain"] = processes.wrk(server.port, file, seconds, options.connections, first + 4_000_000)
    print(
        f"round {number + 1}: bare {figures['bare_rate']:.1f}/s, ours {figures['ours']['rate']:.1f}/s, "
        f"plain {figures['plain']['rate']:.1f}/s",
        flush=True,
    )
    return figures


def table(rounds: list[Figures], options: argparse.Namespace) -> str:
    """Return the figures as Markdown; every one is a median over the rounds."""

    def middle(*path: str) -> float:
        values = []
        for figures in rounds:
            value: Any = figures
            for key in path:
                value = value[key]
            values.append(float(value))
        return median(values)

    goodput = median(
        figures["overload"]["statuses"].get("200", 0) / options.overload_seconds / figures["ours"]["rate"]
        for figures in rounds
    )
    sent = sum(figures["overload"]["scheduled"] for figures in rounds)
    broken = sum(figures["overload"]["statuses"].get("0", 0) for figures in rounds)
    rows = [
        ("bare landmarkers, no server", f"{middle('bare_rate'):.1f}/s", "the limit"),
        (
            f"PoseCluster, closed loop of {options.connections}",
            f"{middle('ours', 'rate'):.1f}/s, p50 {middle('ours', 'p50_ms'):.0f}, "
            f"p99 {middle('ours', 'p99_ms'):.0f} ms",
            "",
        ),
        (
            f"one process, model in the handler, closed loop of {options.connections}",
            f"{middle('plain', 'rate'):.1f}/s, p50 {middle('plain', 'p50_ms'):.0f}, "
            f"p99 {middle('plain', 'p99_ms'):.0f} ms",
            "",
        ),
        (
            "PoseCluster, pictures a second and core: lite, full, heavy",
            ", ".join(
                f"{middle(variant, 'rate') / options.workers:.1f}" for variant in ("lite", "ours", "heavy")
            ),
            "",
        ),
        ("**throughput, PoseCluster / bare**", f"**{middle('ratio'):.3f}**", "≥ 0.97"),
        (
            "one client: bare decode + detect, p50; the server adds",
            f"{middle('single', 'bare_ms'):.1f} ms; {middle('single', 'added_ms'):.2f} ms",
            "≤ 1.5 ms",
        ),
        (
            "open loop at 0.7 of capacity",
            f"p50 {middle('steady', 'accepted_ms', 'p50'):.0f}, "
            f"p95 {middle('steady', 'accepted_ms', 'p95'):.0f}, "
            f"p99 {middle('steady', 'accepted_ms', 'p99'):.0f} ms",
            "",
        ),
        (
            f"open loop at 3 x capacity, {options.overload_seconds} s: goodput / capacity",
            f"{goodput:.3f} ({broken} of {sent} broken)",
            "≥ 0.95",
        ),
        (
            "  its refusals, p50 and p99",
            f"{middle('overload', 'refused_ms', 'p50'):.1f}, "
            f"{middle('overload', 'refused_ms', 'p99'):.1f} ms",
            "p99 ≤ 20 ms",
        ),
        ("  its answers, p99", f"{middle('overload', 'accepted_ms', 'p99'):.0f} ms", ""),
        ("process start to ready", f"{middle('ready_seconds'):.2f} s", "≤ 2.5 s"),
        (
            "resident memory, server and largest worker",
            f"{middle('memory', 'server_mb'):.0f} MB, {middle('memory', 'worker_mb'):.0f} MB",
            "≤ 110, ≤ 240 MB",
        ),
        (
            "  the same after overload",
            f"{middle('memory_after_overload', 'server_mb'):.0f} MB, "
            f"{middle('memory_after_overload', 'worker_mb'):.0f} MB",
            "flat",
        ),
    ]
    return "\n".join([_machine(options, len(rounds)), "", *page.table(rows)])


def _machine(options: argparse.Namespace, rounds: int) -> str:
    return (
        f"{page.machine(_PACKAGES, 'the load generator')}; full model, {options.workers} workers, "
        f"{rounds} rounds of {options.seconds} s, medians."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3, help="of bare and ours in each round")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--overload-seconds", type=int, default=60)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.stderr.write("bench: needs wrk for the closed loop: apt-get install wrk\n")
        return 1
    if os.getloadavg()[0] > 0.5:
        sys.stderr.write(
            f"bench: the machine is busy (load {os.getloadavg()[0]:.1f}); the figures may be worthless\n"
        )
    root = processes.ROOT
    build = root / "build"
    build.mkdir(exist_ok=True)
    model = root / "models" / "pose_landmarker_full.task"
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        file = options.folder / "picture.jpg"
        data = picture.make(file)
        rounds = [one_round(model, file, data, options, number) for number in range(options.rounds)]
    (build / "bench.json").write_text(json.dumps(rounds, indent=1))
    text = table(rounds, options)
    print(text)
    if options.write:
        page.fill("bench", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
