"""What a test does repeatedly beside its own steps."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(action: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Call `action` in a thread, at once and after each pause, until the end of the block."""
    over = threading.Event()

    def run() -> None:
        while True:
            action()
            if over.wait(every_seconds):
                return

    thread = threading.Thread(target=run, name="repeating")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
