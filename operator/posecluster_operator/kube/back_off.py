"""How long to wait before trying again."""


def back_off_seconds(failures: int, *, first: float, longest: float) -> float:
    """Return the wait after so many failures in a row, at least one.

    It is `first` after one failure, doubles with each further one, and is at most `longest`.
    """
    return min(first * 2.0 ** min(failures - 1, 30), longest)
