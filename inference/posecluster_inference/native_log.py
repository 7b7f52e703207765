"""What native libraries print, kept out of our log.

libpng, libjpeg and MediaPipe write to file descriptor 2 themselves, and none has a switch for it:
the first two quote the picture (the name of a colour profile, say), which must never reach a log;
the third adds unstructured lines to every start of a worker.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted() -> Iterator[None]:
    """Send whatever is written to file descriptor 2 inside the block to nowhere.

    For code that runs in one thread and reports by exceptions; takes about 10 microseconds.
    """
    kept = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
