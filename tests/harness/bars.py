"""What a run asserted, for the record: the list's bar, or a wider one with its reason."""


def bar_text(asserted: str, listed: str, reason: str = "other tests share the two cores") -> str:
    """The bar as the table shows it: `asserted`, and where the list asks for more, why and what.

    The list's own bar holds in runs with POSECLUSTER_LONG=1, in which nothing else runs.
    """
    if asserted == listed:
        return listed
    return f"{asserted} ({reason}; {listed} with POSECLUSTER_LONG=1)"
