"""Discards the output of native libraries.

libpng, libjpeg and MediaPipe write to file descriptor 2 and have no option to disable this. libpng and
libjpeg quote the picture (for example the name of a colour profile), which must never be logged. MediaPipe
writes unstructured lines at each start of a worker.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_NULL = os.open(os.devnull, os.O_WRONLY)  # opened now, because the sandbox forbids it later


@contextmanager
def muted() -> Iterator[None]:
    """Discard output to file descriptor 2 while the block runs.

    Use it for code that runs in one thread and reports errors by exceptions. It takes a few microseconds.
    """
    stderr = os.dup(2)
    try:
        os.dup2(_NULL, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
