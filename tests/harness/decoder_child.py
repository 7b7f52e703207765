"""The decoder fuzz without a server: `python -m harness.decoder_child SEED FORMAT COUNT PLANTED`.

Does COUNT times what a worker does before detection, under a worker's memory limit. It writes the number
of each input before it tries it, so that its parent knows which input was the last, and at the end one
JSON line. PLANTED is the number of an input at which to crash, -1 for none.
"""

import json
import os
import sys
import time
from collections import Counter

from harness import mutations
from harness.pictures import built_in
from posecluster_inference.errors import Refusal, Undecodable
from posecluster_inference.machine.memory import worker_share_bytes
from posecluster_inference.pictures import inspect
from posecluster_inference.worker import codec
from posecluster_inference.worker import main as worker_main

MAX_PIXELS, MAX_SIDE = 25_000_000, 16_384


def main() -> None:
    seed, form, count, planted = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    codec.configure(max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
    if decode(built_in()) != "decoded":
        raise SystemExit("The built-in picture cannot be decoded")
    # a worker of a pod of 1 GiB with two of them
    worker_main._limit_memory(worker_share_bytes(1 << 30, workers=2))
    pool = mutations.seeds(form)
    outcomes: Counter[str] = Counter()
    slowest, slowest_index = 0.0, -1
    for index in range(count):
        data = mutations.mutated(seed, form, index, pool)
        os.write(1, f"{index}\n".encode())
        if index == planted:
            os.abort()
        started = time.perf_counter()
        outcomes[decode(data)] += 1
        seconds = time.perf_counter() - started
        if seconds > slowest:
            slowest, slowest_index = seconds, index
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "slowest_index": slowest_index}), flush=True)


def decode(data: bytes) -> str:
    """Decode as a worker does; any other end than these four ends the process."""
    try:
        header = inspect(data, max_pixels=MAX_PIXELS, max_side=MAX_SIDE)
    except Refusal as refusal:
        return f"refused {refusal.status}"
    try:
        picture = codec.decode(data, header)
    except Undecodable:
        return "undecodable"
    if {*picture.shape[:2]} != {header.width, header.height}:
        raise AssertionError(f"{picture.shape} is not {header}")
    return "decoded"


if __name__ == "__main__":
    main()
