"""Server-side apply of children, which is skipped if it would change nothing."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posecluster_operator.builders import labels
from posecluster_operator.builders.table import ChildRow, Ident, idents
from posecluster_operator.errors import Forbidden, NamespaceTerminating, Rejected, Retryable, Unanswered
from posecluster_operator.kube.client import Kube
from posecluster_operator.reconcile.children import Carryover, Children, applied_by_us
from posecluster_operator.reconcile.rollout_diagnosis import Failure
from posecluster_operator.resource.fields import Json
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
    """The children after the apply, which of them were repaired, and the first error."""

    live: dict[Ident, Json | None]
    problem: Failure | None = None
    error: Rejected | Forbidden | Retryable | None = None
    repaired: list[Ident] = field(default_factory=list)


async def apply_children(
    kube: Kube,
    cluster: PoseCluster,
    desired: Sequence[dict[str, Any]],
    children: Children,
    carryover: Carryover,
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
                applied.live[ident] = await _apply(kube, row, manifest, body, carryover, applied.repaired)
            elif body is not None:
                await kube.delete(row.resource, cluster.namespace, ident[1], uid=body["metadata"]["uid"])
                fields = {"kind": ident[0], "child": f"{cluster.namespace}/{ident[1]}"}
                logger.info("Deleted child", extra={"fields": fields})
                applied.live[ident] = None
                carryover.applied.pop(ident, None)  # creating it again later is not a repair
        except (Rejected, Forbidden, Retryable) as refused:
            if isinstance(refused, Retryable) and not _may_be_admission(refused):
                raise
            applied.problem = applied.problem or _problem(ident, refused)
            applied.error = applied.error or refused
            if isinstance(refused, Unanswered | NamespaceTerminating):
                break  # the other children would fail, too
    return applied


async def _apply(
    kube: Kube,
    row: ChildRow,
    manifest: dict[str, Any],
    body: Json | None,
    carryover: Carryover,
    repaired: list[Ident],
) -> Json:
    kind, namespace, name = manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    intent = _digest(manifest)
    before = carryover.applied.get((kind, name))
    if body is not None:
        if before == (intent, fingerprint(body)):
            return body
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
    answer = await _disown_patch(kube, row, answer)
    carryover.applied[kind, name] = (intent, fingerprint(answer))
    carryover.check_fresh(answer)
    if body is None or fingerprint(body) != fingerprint(answer):
        logger.info("Applied child", extra={"fields": {"kind": kind, "child": f"{namespace}/{name}"}})
        if before is not None and before[0] == intent:
            repaired.append((kind, name))
    return answer


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
