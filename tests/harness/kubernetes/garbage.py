"""The player's garbage collector: it deletes objects without owners and completes foreground deletion."""

from typing import TYPE_CHECKING

from harness.kubernetes.waiting import Json

if TYPE_CHECKING:
    from harness.kubernetes.api import Api

_OWNERS = ("poseclusters", "deployments", "replicasets")
_KINDS = (*_OWNERS, "pods", "services", "poddisruptionbudgets")
_ENDINGS = {"foregroundDeletion", "orphan"}


def collect_garbage(api: "Api", namespace: str | None) -> int:
    """Delete all whose owners are gone, down to the leaves; how many objects went.

    Owners that wait for it (foreground or orphan deletion) are let go as the real one does.
    """
    gone = 0
    while True:
        items = {kind: api.list(kind, namespace) for kind in _KINDS}
        waiting = {
            item["metadata"]["uid"]: item["metadata"].get("finalizers", [])
            for kind in _OWNERS
            for item in items[kind]
            if _ENDINGS & set(item["metadata"].get("finalizers", []))
        }
        live = {item["metadata"]["uid"] for kind in _OWNERS for item in items[kind]}
        left = live - {uid for uid, how in waiting.items() if "foregroundDeletion" in how}
        found = 0
        for kind in _KINDS:
            for item in items[kind]:
                found += _judge(api, kind, item, live=left, waiting=waiting)
        if not found:
            return gone
        gone += found


def _judge(api: "Api", kind: str, item: Json, *, live: set[str], waiting: dict[str, list[str]]) -> int:
    metadata = item["metadata"]
    where, name = metadata["namespace"], metadata["name"]
    owners = [one["uid"] for one in metadata.get("ownerReferences", [])]
    orphaned = [uid for uid in owners if "orphan" in waiting.get(uid, [])]
    if orphaned:
        kept = [one for one in metadata["ownerReferences"] if one["uid"] not in orphaned]
        api.patch(kind, where, name, {"metadata": {"ownerReferences": kept or None}})
    elif owners and not live & set(owners) and "deletionTimestamp" not in metadata:
        api.delete(kind, where, name)
    else:
        orphaned = []
        if not (finalizers := waiting.get(metadata["uid"])):
            return 0
        # its children go in this round too: nothing here depends on their order
        rest = [one for one in finalizers if one not in _ENDINGS]
        api.patch(kind, where, name, {"metadata": {"finalizers": rest or None}})
    return 1
