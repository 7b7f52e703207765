"""Discards the output of native libraries.

libpng, libjpeg and MediaPipe write to file descriptor 2 and have no option to disable this. libpng and
libjpeg quote the picture (for example the name of a colour profile), which must never be logged. MediaPipe
writes unstructured lines at each start of a worker.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted() -> Iterator[None]:
    """Discard output to file descriptor 2 while the block runs.

    Use it for code that runs in one thread and reports errors by exceptions. It takes about 10 microseconds.
    """
    stderr = os.dup(2)
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
