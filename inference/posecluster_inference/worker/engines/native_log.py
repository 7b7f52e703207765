"""Keeps the output of native libraries out of our log.

libpng, libjpeg and MediaPipe write to file descriptor 2 themselves and have no option to turn that off.
The first two quote the picture (for example the name of a colour profile), which must never reach a log;
the third adds unstructured lines to every start of a worker.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted() -> Iterator[None]:
    """Discard what is written to file descriptor 2 inside the block.

    Use it for code that runs in one thread and reports by exceptions. It takes about 10 microseconds.
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
