"""Freed blocks go back to the system, although smaller blocks that are in use lie between them."""

import subprocess
import sys

import pytest

_SCRIPT = """
from posecluster_inference.machine import kernel
if {is_set}:
    kernel.return_freed_memory()
def resident_pages():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])
first = b"x" * 30_000_000
del first
before = resident_pages()
blocks, small = [], []
for _ in range(20):
    blocks.append(b"x" * 6_000_000)
    small.append(b"x" * 20_000)
blocks.clear()
print((resident_pages() - before) * 4096)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has the setting")
@pytest.mark.parametrize("is_set", [True, False], ids=["set", "control"])
def test_large_freed_blocks_go_back_to_the_system(is_set: bool) -> None:
    script = _SCRIPT.format(is_set=is_set)
    held = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert (int(held) < 10_000_000) == is_set
