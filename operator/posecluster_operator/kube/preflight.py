"""Checks at start: the operator's permissions and its CRD."""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from posecluster_operator.errors import KubeError, NotFound, NotPermitted, Retryable
from posecluster_operator.kube.back_off import back_off_seconds
from posecluster_operator.kube.client import Kube
from posecluster_operator.kube.kinds import ACCESS_REVIEWS, POSECLUSTERS
from posecluster_operator.kube.permissions import LEASE, WATCHED, Rule
from posecluster_operator.resource.fields import Json
from posecluster_operator.resource.json_access import child, children, text
from posecluster_operator.resource.parsing import field_types
from posecluster_operator.resource.posecluster import Spec

logger = logging.getLogger(__name__)

_AT_ONCE = 8
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 10.0
_LONGEST_RETRY_AFTER_SECONDS = 30.0

_Right = tuple[str, Rule, str]  # namespace (empty: all), rule, verb


async def check_permissions(
    kube: Kube, *, namespaces: Sequence[str], lease_namespace: str, lease_name: str
) -> None:
    """Check every permission that the operator needs; raises NotPermitted, which names the missing ones.

    Empty `namespaces` stand for the whole cluster. Waits while the API server is unavailable, and logs it.
    """
    rights: list[_Right] = [
        (namespace, rule, verb)
        for namespace, rules in [*((name, WATCHED) for name in namespaces or [""]), (lease_namespace, LEASE)]
        for rule in rules
        for verb in rule.verbs
    ]
    allowed: dict[_Right, bool] = {}
    said = False
    for failures in itertools.count(1):
        open_rights = [right for right in rights if right not in allowed]
        error = await _ask(kube, open_rights, allowed, lease_name=lease_name)
        if error is None:
            break
        if not isinstance(error, Retryable):
            # If accounts may not review their own access, the first pass reports what is missing.
            logger.warning("Permissions could not be checked", extra={"fields": {"error": str(error)}})
            return
        if not said:
            logger.warning(
                "Permissions could not be checked, retrying", extra={"fields": {"error": str(error)}}
            )
            said = True
        await asyncio.sleep(_wait_seconds(failures, error.retry_after_seconds))
    missing = [right for right in rights if not allowed[right]]
    if missing:
        raise NotPermitted(
            f"Missing permissions: {describe(missing)}. "
            "Grant them as in charts/posecluster/files/permissions.yaml"
        )


async def wait_for_crd(kube: Kube) -> None:
    """Wait until the API server serves PoseClusters, and log once that it waits."""
    said = ""
    for failures in itertools.count(1):
        try:
            if POSECLUSTERS.plural in await kube.plurals(POSECLUSTERS.api_version):
                break
            say, pause = "Waiting for the CRD", 0.0
        except NotFound:
            say, pause = "Waiting for the CRD", 0.0
        except KubeError as error:
            say = "Waiting for the API server"
            pause = error.retry_after_seconds
        if say != said:
            logger.warning(say, extra={"fields": {"kind": POSECLUSTERS.full_name}})
            said = say
        await asyncio.sleep(_wait_seconds(failures, pause))
    if said:
        logger.info("The CRD is installed", extra={"fields": {"kind": POSECLUSTERS.full_name}})


async def report_old_crd(kube: Kube) -> None:
    """Log one warning if the installed CRD lacks fields of the spec that this operator supports.

    Users cannot set such fields, because the API server drops them.
    """
    try:
        schemas = await kube.schemas(POSECLUSTERS.api_version)
    except KubeError as error:
        logger.info("The CRD's version could not be checked", extra={"fields": {"error": str(error)}})
        return
    for schema in schemas:
        kinds = {text(one, "kind") for one in children(schema, "x-kubernetes-group-version-kind")}
        spec = child(schema, "properties", "spec")
        if POSECLUSTERS.kind in kinds and (missing := list(_missing_fields(Spec, spec, "spec"))):
            fields = {"kind": POSECLUSTERS.full_name, "missing": ", ".join(missing)}
            logger.warning(
                "The CRD is older than the operator, apply the CRD of the operator's version",
                extra={"fields": fields},
            )


def _missing_fields(cls: Any, schema: Json, path: str) -> Iterator[str]:
    """Yield the fields of a class, recursively, that an OpenAPI schema does not have."""
    known = child(schema, "properties") or child(schema, "items", "properties")
    for name, kind in field_types(cls).items():
        if name not in known:
            yield f"{path}.{name}"
        elif dataclasses.is_dataclass(kind):
            yield from _missing_fields(kind, known[name], f"{path}.{name}")


def describe(missing: Sequence[_Right]) -> str:
    """Return permissions as text: `get, patch deployments.apps in namespace x; …`."""
    texts = []
    for (namespace, rule), rights in groupby(missing, key=lambda right: right[:2]):
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        if rule in LEASE:
            where += " (set by POSECLUSTER_OPERATOR_LEASE_NAMESPACE)"
        texts.append(f"{', '.join(verb for _, _, verb in rights)} {rule.full_name} {where}")
    return "; ".join(texts)


async def _ask(
    kube: Kube, rights: Sequence[_Right], allowed: dict[_Right, bool], *, lease_name: str
) -> KubeError | None:
    """Store the API server's responses in `allowed`; return the first error, if any call failed."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(right: _Right) -> KubeError | None:
        namespace, rule, verb = right
        resource, _, subresource = rule.resource.partition("/")
        attributes = {"group": rule.group, "resource": resource, "verb": verb}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {"namespace": namespace} if namespace else {}
        attributes |= {"name": lease_name} if rule.ours else {}
        review = {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": ACCESS_REVIEWS.kind,
            "spec": {"resourceAttributes": attributes},
        }
        async with slots:
            try:
                answer = await kube.create(ACCESS_REVIEWS, None, review, fenced=False)
            except KubeError as error:
                return error
        allowed[right] = (answer.get("status") or {}).get("allowed") is True
        return None

    errors = await asyncio.gather(*(ask(right) for right in rights))
    return next((error for error in errors if error is not None), None)


def _wait_seconds(failures: int, asked: float) -> float:
    seconds = back_off_seconds(failures, first=_FIRST_WAIT_SECONDS, longest=_LONGEST_WAIT_SECONDS)
    return max(seconds, min(asked, _LONGEST_RETRY_AFTER_SECONDS))
