"""The bound that a run asserted: that of docs/reliability.md, or a wider one with its reason."""


def bar_text(asserted: str, listed: str, reason: str = "other tests share the two cores") -> str:
    """The bar as the table shows it: `asserted`, and where `listed` is stricter, the reason and `listed`.

    `listed` holds in runs with POSECLUSTER_LONG=1, in which nothing else runs.
    """
    if asserted == listed:
        return listed
    return f"{asserted} ({reason}; {listed} with POSECLUSTER_LONG=1)"
