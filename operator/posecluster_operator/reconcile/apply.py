"""Server-side apply of children, which is skipped if it would change nothing."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.table import ChildRow, Ident, idents
from posecluster_operator.errors import Forbidden, NamespaceTerminating, Rejected, Retryable, Unanswered
from posecluster_operator.kube.client import Kube
from posecluster_operator.reconcile.children import Carryover, Children, LastApply, applied_by_us
from posecluster_operator.reconcile.field_paths import changed_paths, overridden_paths, owners, text_of
from posecluster_operator.reconcile.repairs import RepairPace, Repairs
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child
from posecluster_operator.resource.posecluster import PoseCluster
from posecluster_operator.resource.reasons import ProgressingReason
from posecluster_operator.resource.stable_text import stable

logger = logging.getLogger(__name__)

_VOLATILE_ANNOTATIONS = "deployment.kubernetes.io/"  # written by the Deployment controller
_INVALID = 422
_WEBHOOK_FAILED = "failed calling webhook"
_PATCHED = (labels.MANAGER, "Update")
_CHOSEN = "nodePort"  # the API server or a user chooses it


@dataclass(slots=True)
class Applied:
    """The children after the apply, which of them were repaired, and the first error.

    `overridden`: the kind and name of children, with the fields that admission changed in our own apply.
    """

    live: dict[Ident, Json | None]
    problem: Failure | None = None
    error: Rejected | Forbidden | Retryable | None = None
    repaired: list[Ident] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


class Applier:
    """Applies the children of one PoseCluster in one pass.

    `is_users_change`: the spec has changed since it was last applied, so a child of which this process has
    applied nothing is not delayed. `queued`: the Deployments whose new pod template has to wait. `now` is on
    a monotonic clock.
    """

    def __init__(
        self,
        kube: Kube,
        carryover: Carryover,
        *,
        pace: RepairPace,
        now: float,
        is_users_change: bool,
        queued: Collection[Ident],
    ) -> None:
        self._kube, self._carryover = kube, carryover
        self._pace, self._now = pace, now
        self._is_users_change, self._queued = is_users_change, queued

    async def apply(
        self, cluster: PoseCluster, desired: Sequence[dict[str, Any]], children: Children
    ) -> Applied:
        """Apply each child that differs from its desired state, and delete those that must not exist.

        Raises Retryable and Conflict. If a child is refused, the other children are applied nevertheless. A
        webhook that fails or hangs does not raise, so that the status can report it.
        """
        manifests = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in desired}
        applied = Applied(dict(children.live))
        for ident, row in idents(cluster).items():
            body = children.live[ident]
            try:
                if manifest := manifests.get(ident):
                    applied.live[ident] = await self._child(row, ident, manifest, body, applied)
                elif body is not None:
                    applied.live[ident] = await self._delete(row, ident, body, applied)
                else:
                    self._repairs(ident).note_unchanged(self._now)
            except (Rejected, Forbidden, Retryable) as refused:
                if isinstance(refused, Retryable) and not _may_be_admission(refused):
                    raise
                applied.problem = applied.problem or _problem(ident, refused)
                applied.error = applied.error or refused
                if isinstance(refused, Unanswered | NamespaceTerminating):
                    break  # the other children would fail, too
        applied.problem = applied.problem or contest(self._carryover)
        return applied

    async def _child(
        self, row: ChildRow, ident: Ident, manifest: dict[str, Any], body: Json | None, applied: Applied
    ) -> Json | None:
        """Apply the child unless it is as it should be or has to wait."""
        before, repairs = self._carryover.applied.get(ident), self._repairs(ident)
        wanted = LastApply(_intent(manifest), _size(manifest), "")
        is_new_intent = self._is_users_change if before is None else before.intent != wanted.intent
        if ident in self._queued and body is not None:
            return await self._resize(row, manifest, body)
        if body is not None and before == replace(wanted, fingerprint=fingerprint(body)):
            repairs.note_unchanged(self._now)
            self._note_overridden(ident, manifest, body, applied)
            return body
        if not is_new_intent and repairs.must_wait(self._now):
            if body is None or before is None or before.size == wanted.size:
                return body
            resized = await self._resize(row, manifest, body)
            self._carryover.applied[ident] = replace(before, size=wanted.size)
            return resized
        answer = await _apply(self._kube, row, manifest, body)
        after = fingerprint(answer)
        self._carryover.applied[ident] = replace(wanted, fingerprint=after)
        self._carryover.check_fresh(answer)
        self._note_overridden(ident, manifest, answer, applied)
        if body is not None and fingerprint(body) == after:
            repairs.note_unchanged(self._now)
            return answer
        fields = {"kind": ident[0], "child": f"{answer['metadata']['namespace']}/{ident[1]}"}
        logger.info("Applied child", extra={"fields": fields})
        was_applied = repairs.is_contested if before is None else before.size == wanted.size
        if was_applied and not is_new_intent:
            self._note_repair(ident, body, answer)
            applied.repaired.append(ident)
        return answer

    async def _delete(self, row: ChildRow, ident: Ident, body: Json, applied: Applied) -> Json | None:
        """Delete a child that must not exist, unless another client keeps creating it."""
        absent = LastApply("", None, "")
        is_repair = self._carryover.applied.get(ident) == absent
        if is_repair and self._repairs(ident).must_wait(self._now):
            return body
        metadata = body["metadata"]
        await self._kube.delete(row.resource, metadata["namespace"], ident[1], uid=metadata["uid"])
        fields = {"kind": ident[0], "child": f"{metadata['namespace']}/{ident[1]}"}
        logger.info("Deleted child", extra={"fields": fields})
        self._carryover.applied[ident] = absent  # creating it again later is not a repair
        if is_repair:
            self._repairs(ident).note(self._now, fields=["metadata"], writers=owners(body, ("metadata",)))
            applied.repaired.append(ident)
        return None

    async def _resize(self, row: ChildRow, manifest: Json, body: Json) -> Json:
        """Set only the number of pods, because the rest of the manifest has to wait."""
        size = _size(manifest)
        if size is None or child(body, "spec").get("replicas") == size:
            return body
        metadata = body["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "spec": {"replicas": size}}
        answer = await self._kube.patch(row.resource, metadata["namespace"], metadata["name"], patch)
        return await _disown_patch(self._kube, row, answer)

    def _note_repair(self, ident: Ident, body: Json | None, answer: Json) -> None:
        paths = [] if body is None else changed_paths(body, answer)
        writers = set[str]().union(*(owners(body or {}, path) for path in paths))
        # Our own name counts only if no other manager owns any of the fields.
        writers = writers - {labels.MANAGER} or writers
        self._repairs(ident).note(self._now, fields=map(text_of, paths), writers=writers)

    def _note_overridden(self, ident: Ident, manifest: Json, live: Json, applied: Applied) -> None:
        if found := dict.fromkeys(map(text_of, overridden_paths(manifest, live))):
            applied.overridden.append(f"{' '.join(ident)}: {', '.join(found)}")

    def _repairs(self, ident: Ident) -> Repairs:
        return self._carryover.repairs.setdefault(ident, Repairs(self._pace))


def contest(carryover: Carryover) -> Failure | None:
    """Return the failure for children that other clients keep changing, or None. Pure."""
    found = [repairs.message(*ident) for ident, repairs in carryover.repairs.items() if repairs.is_contested]
    return Failure(ProgressingReason.CONTESTED, " ".join(found)) if found else None


async def _apply(kube: Kube, row: ChildRow, manifest: dict[str, Any], body: Json | None) -> Json:
    """Apply the child and return it as the API server stores it."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    if body is not None:
        # With the uid, an apply to an object that replaced the child in the meantime fails with a conflict.
        metadata = {**manifest["metadata"], "uid": body["metadata"]["uid"]}
        manifest = {**manifest, "metadata": metadata}
        if has_foreign_fields(body, row.owned):
            await _overwrite(kube, row, manifest, body)
        if changes_class(manifest, body):
            patch = {"metadata": {"uid": body["metadata"]["uid"]}, "spec": {"type": "ClusterIP"}}
            await kube.patch(row.resource, namespace, name, patch)
    try:
        # Forced only if the child exists: an object that another client has just created causes a conflict.
        answer: Json = await kube.apply(manifest, force=body is not None)
    except Rejected as refused:
        if body is None or refused.status != _INVALID:
            raise
        await _overwrite(kube, row, manifest, body)
        answer = await kube.apply(manifest)
    return await _disown_patch(kube, row, answer)


def has_foreign_fields(body: Json, owned: Sequence[str]) -> bool:
    """Return whether another client set fields below the path `owned` that the operator does not set. Pure.

    Examples are another container in the pods, the host's network, or the admin port in the Service. An apply
    does not change fields that it does not name.
    """
    ours = applied_by_us(body)
    return any(
        _beyond(_fields_at(entry.get("fieldsV1") or {}, owned), _fields_at(ours, owned))
        for entry in body["metadata"].get("managedFields") or ()
        if entry.get("manager") != labels.MANAGER and not entry.get("subresource")
    )


def changes_class(manifest: Json, body: Json) -> bool:
    """Return whether the class of a load balancer changes, which requires another type in between. Pure.

    The CRD requires the same two steps of users, but both may happen between two passes. A class that
    another client set, such as an admission webhook, is kept while the spec has none.
    """
    wanted, live = manifest["spec"], body["spec"]
    if not wanted.get("type") == live.get("type") == "LoadBalancer":
        return False
    is_ours = "f:loadBalancerClass" in applied_by_us(body).get("f:spec", {})
    class_now = live.get("loadBalancerClass") if is_ours or "loadBalancerClass" in wanted else None
    return bool(class_now != wanted.get("loadBalancerClass"))


def _fields_at(fields: Json, path: Sequence[str]) -> Json:
    for key in path:
        fields = fields.get(f"f:{key}") or {}
    return fields


def _beyond(theirs: Json, ours: Json) -> bool:
    """Return whether `theirs` has a field that `ours` does not have."""
    return any(
        key not in ours if not below else _beyond(below, ours.get(key) or {})
        for key, below in theirs.items()
        if key not in {".", f"f:{_CHOSEN}"}
    )


async def _overwrite(kube: Kube, row: ChildRow, manifest: Json, body: Json) -> None:
    """Replace the part that the operator owns, including fields of other clients.

    This is also needed after edits that make every apply invalid, such as another number for a port's name,
    minAvailable beside maxUnavailable, or two handlers in one probe.
    """
    wanted: Any = manifest
    live: Any = body
    for key in row.owned:
        wanted, live = wanted[key], live[key]
    patch: Any = _exactly(wanted, live) if isinstance(wanted, Mapping) else wanted
    for key in reversed(row.owned):
        patch = {key: patch}
    # Without resourceVersion, because the status may change it faster than this write arrives.
    patch["metadata"] = {"uid": body["metadata"]["uid"]}
    namespace, name = (manifest["metadata"][key] for key in ("namespace", "name"))
    await kube.patch(row.resource, namespace, name, patch)


def _exactly(wanted: Json, live: Json) -> dict[str, Any]:
    """Return the merge patch from `live` to `wanted`, which removes other fields and replaces lists. Pure."""
    patch: dict[str, Any] = {key: None for key in live if key not in wanted}
    for key, value in wanted.items():
        nested = isinstance(value, Mapping) and isinstance(live.get(key), Mapping)
        patch[key] = _exactly(value, live[key]) if nested else value
    return patch


async def _disown_patch(kube: Kube, row: ChildRow, answer: Json) -> Json:
    """Release the fields that `_overwrite` set, because an apply removes only fields owned by applies."""
    metadata = answer["metadata"]
    managers = metadata.get("managedFields") or []
    kept = [one for one in managers if (one.get("manager"), one.get("operation")) != _PATCHED]
    if kept == managers:
        return answer
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "managedFields": kept}}
    return await kube.patch(row.resource, metadata["namespace"], metadata["name"], patch)


def _may_be_admission(error: Retryable) -> bool:
    return isinstance(error, Unanswered) or _WEBHOOK_FAILED in error.message


def _problem(ident: Ident, refused: Rejected | Forbidden | Retryable) -> Failure:
    if isinstance(refused, Forbidden):
        return forbidden(refused)
    kind, name = ident
    message = stable(refused.message, keep=[name])
    return Failure(ProgressingReason.APPLY_REJECTED, f"The API server refused {kind} {name}: {message}")


def unreadable(error: Rejected | Forbidden) -> Failure:
    """Return the failure to report when the children cannot be read. Pure."""
    if isinstance(error, Forbidden):
        return forbidden(error)
    # for example a name that is too long for a label, stored before the CRD limited it
    message = f"The API server refused to {error.what}: {stable(error.message)}"
    return Failure(ProgressingReason.APPLY_REJECTED, message)


def forbidden(error: Forbidden) -> Failure:
    """Return the failure to report when a permission is missing. Pure."""
    return Failure(
        ProgressingReason.FORBIDDEN,
        f"The operator lacks the permission to {error.what}: grant its service account the permissions in "
        "charts/posecluster/files/permissions.yaml.",
    )


def _intent(manifest: Json) -> str:
    """Return a hash of the manifest without the size, but with the fact whether it sets one."""
    spec = manifest["spec"]
    return _digest({**manifest, "spec": {**spec, "replicas": None} if "replicas" in spec else spec})


def _size(manifest: Json) -> int | None:
    size: int | None = manifest["spec"].get("replicas")
    return size


def fingerprint(body: Json) -> str:
    """Return a hash of the parts of a live object that an apply may change; excludes the status. Pure."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return _digest(
        [
            metadata["uid"],
            metadata.get("labels"),
            {key: text for key, text in annotations.items() if not key.startswith(_VOLATILE_ANNOTATIONS)},
            metadata.get("ownerReferences"),
            body.get("spec"),
        ]
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
