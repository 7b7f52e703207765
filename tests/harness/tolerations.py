"""A user's tolerations, and which of the two for a failed node the operator adds to them."""

from typing import Any

_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
# name: the user's, the keys whose default is added
CASES: dict[str, tuple[list[dict[str, Any]], tuple[str, ...]]] = {
    "none": ([], (_NOT_READY, _UNREACHABLE)),
    "another taint": ([{"key": "pool", "operator": "Exists"}], (_NOT_READY, _UNREACHABLE)),
    "another effect": (
        [{"key": _NOT_READY, "operator": "Exists", "effect": "NoSchedule"}],
        (_NOT_READY, _UNREACHABLE),
    ),
    "one of the two": (
        [{"key": _NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        (_UNREACHABLE,),
    ),
    "every effect": ([{"key": _UNREACHABLE, "operator": "Exists"}], (_NOT_READY,)),
    "every taint": ([{"operator": "Exists"}], ()),
    "every taint with NoExecute": (
        [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
        (),
    ),
}


def expected(theirs: list[dict[str, Any]], added: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what the pods should have."""
    return theirs + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30} for key in added
    ]
