"""Exponential back-off."""


def back_off_seconds(failures: int, *, first: float, longest: float) -> float:
    """Return the wait in seconds after this number of consecutive failures, which is at least 1.

    It is `first` after one failure, doubles with each further failure, and is at most `longest`.
    """
    return min(first * 2.0 ** min(failures - 1, 30), longest)
