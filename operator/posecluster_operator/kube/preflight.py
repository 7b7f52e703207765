"""Checks at start: the operator's permissions and its CRD."""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from posecluster_operator.errors import KubeError, NotFound, Retryable
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

Permission = tuple[str, Rule, str]  # namespace (empty: all), rule, verb


async def wait_for_permissions(
    kube: Kube,
    *,
    namespaces: Sequence[str],
    lease_namespace: str,
    lease_name: str,
    say: Callable[[str], None],
) -> None:
    """Wait until the operator may do everything that it needs with the Lease and in at least one namespace.

    Empty `namespaces` stand for the whole cluster. Logs missing permissions once, also those in other
    namespaces, and calls `say` with the reason for waiting. Also waits while the API server is unavailable.
    """
    said = ""
    for failures in itertools.count(1):
        pause = 0.0
        try:
            missing = await missing_permissions(
                kube, namespaces=namespaces, lease_namespace=lease_namespace, lease_name=lease_name
            )
        except Retryable as error:
            message, pause = "Permissions could not be checked, retrying", error.retry_after_seconds
            fields = {"error": str(error)}
        except KubeError as error:
            # If accounts may not review their own access, the first pass reports what is missing.
            logger.warning("Permissions could not be checked", extra={"fields": {"error": str(error)}})
            return
        else:
            fields = {"missing": describe(missing)}
            lacking = {namespace for namespace, rule, _ in missing if rule not in LEASE}
            if all(rule not in LEASE for _, rule, _ in missing) and len(lacking) < max(1, len(namespaces)):
                break
            message = "Waiting for permissions, grant them as in charts/posecluster/files/permissions.yaml"
            say(f"waiting for permissions: {fields['missing']}")
        if message != said:
            logger.warning(message, extra={"fields": fields})
            said = message
        await asyncio.sleep(_wait_seconds(failures, pause))
    if missing:
        logger.warning(
            "Permissions are missing, grant them as in charts/posecluster/files/permissions.yaml",
            extra={"fields": fields},
        )
    elif said:
        logger.info("Permissions are granted")


async def missing_permissions(
    kube: Kube, *, namespaces: Sequence[str], lease_namespace: str, lease_name: str
) -> list[Permission]:
    """Return the permissions that the operator needs and lacks, by namespace; raises KubeError."""
    needed: list[Permission] = [
        (namespace, rule, verb)
        for namespace, rules in [*((name, WATCHED) for name in namespaces or [""]), (lease_namespace, LEASE)]
        for rule in rules
        for verb in rule.verbs
    ]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def is_allowed(namespace: str, rule: Rule, verb: str) -> bool:
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
            answer = await kube.create(ACCESS_REVIEWS, None, review, fenced=False)
        return (answer.get("status") or {}).get("allowed") is True

    allowed = await asyncio.gather(*(is_allowed(*one) for one in needed))
    return [one for one, is_granted in zip(needed, allowed, strict=True) if not is_granted]


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


def describe(missing: Sequence[Permission]) -> str:
    """Return permissions as text: `get, patch deployments.apps in namespace x; everything in namespace y`."""
    texts = []
    for (namespace, of_lease), rights in groupby(missing, key=lambda one: (one[0], one[1] in LEASE)):
        where = f"in namespace {namespace}" if namespace else "in all namespaces"
        if of_lease:
            where += " (set by POSECLUSTER_OPERATOR_LEASE_NAMESPACE)"
        by_rule = [(rule, [one[2] for one in group]) for rule, group in groupby(rights, key=itemgetter(1))]
        if by_rule == [(rule, list(rule.verbs)) for rule in WATCHED]:
            texts.append(f"everything {where}")
        else:
            texts += [f"{', '.join(verbs)} {rule.full_name} {where}" for rule, verbs in by_rule]
    return "; ".join(texts)


def _wait_seconds(failures: int, asked: float) -> float:
    seconds = back_off_seconds(failures, first=_FIRST_WAIT_SECONDS, longest=_LONGEST_WAIT_SECONDS)
    return max(seconds, min(asked, _LONGEST_RETRY_AFTER_SECONDS))
