"""Generated specs for the resource fuzz: valid ones, damaged as a stored object may be.

Unlike `SpecGenerator.spoiled` also with what no API server with our CRD would store: other types,
unknown fields, no spec at all. Equal seeds give equal specs.
"""

import copy
import random
import string
from collections.abc import Sequence
from typing import Any

from harness.crd import Json, schema
from harness.spec_generator import JUNK, SpecGenerator

_LETTERS = string.ascii_lowercase

# any of these in the place of anything
ODD: tuple[Any, ...] = (
    *JUNK, None, False, 10**30, 0.5, 1e308, float("inf"), float("nan"),
    "", " ", "\x00", "\n", "ü", "🕺", "٣", "-", "../../etc/passwd", "$(HOSTNAME)",
    "{{ 1 }}", "%s%n", "true", "None", "1e9", "0x10", "500m", "1Gi", "-1Gi", "1..5", "465458732Gi",
    [], {}, [None], [[]], [{}], [{}] * 100, ["x"] * 1_000, {"": ""}, {"a": None}, {"a": {"b": {"c": []}}},
)  # fmt: skip


def valid_name(rng: random.Random) -> str:
    """A name that the CRD takes."""
    letters = rng.choices(_LETTERS + string.digits + "-", k=rng.choice((4, 8, 38)))
    return f"{rng.choice(_LETTERS)}{''.join(letters)}x"


def valid_spec(rng: random.Random) -> Json:
    """A spec that the CRD takes."""
    return SpecGenerator(rng).valid(share=0.35)


def odd_spec(rng: random.Random) -> Any:
    """A valid spec, changed one to four times."""
    box: Json = {"spec": valid_spec(rng)}
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_CHANGES)(rng, box)
    return box.get("spec")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a document."""
    found: list[tuple[Any, Any]] = []
    keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


def _replace(rng: random.Random, box: Json) -> None:
    container, key = rng.choice(_places(box) or [(box, "spec")])
    container[key] = copy.deepcopy(rng.choice(ODD))


def _remove(rng: random.Random, box: Json) -> None:
    if places := _places(box):
        container, key = rng.choice(places)
        del container[key]


def _misspell(rng: random.Random, box: Json) -> None:
    container, key = rng.choice(_places(box) or [(box, "spec")])
    if isinstance(container, dict) and container is not box:
        container[rng.choice((str(key).upper(), f"{key} ", "", "serviceAccountName"))] = container.pop(key)


def _fill(rng: random.Random, box: Json) -> None:
    """A known field anywhere in the schema, with an unusual value."""
    fields = schema()["properties"]["spec"]["properties"]
    name = rng.choice(sorted(fields))
    if isinstance(box.get("spec"), dict):
        inner = fields[name].get("properties")
        odd = copy.deepcopy(rng.choice(ODD))
        box["spec"][name] = {rng.choice(sorted(inner)): odd} if inner else odd


def _repeat(rng: random.Random, box: Json) -> None:
    lists = [value[key] for value, key in _places(box) if isinstance(value[key], list) and value[key]]
    if lists:
        chosen = rng.choice(lists)
        chosen.extend(copy.deepcopy(chosen) * rng.choice((1, 40)))


def _cross(rng: random.Random, box: Json) -> None:
    """Fields that are valid separately but not together."""
    if isinstance(box.get("spec"), dict):
        box["spec"] |= rng.choice(
            (
                {"scaling": {"minReplicas": 9, "maxReplicas": 2}},
                {"scaling": {"scaleDown": {"holdSeconds": 400}}},
                {"limits": {"deadlineMilliseconds": 100}},
                {"resources": {"requests": {"cpu": "3"}}},
                {"resources": {"limits": {"memory": "1"}}},
                {"service": {"annotations": {"posecluster.io/paused": "true"}}},
                {"nodeSelector": {" ": "x"}},
                {"tolerations": [{}]},
                {"priorityClassName": "system-node-critical"},
                {"limits": {"trustedProxies": ["10.0.0.1/8"]}},
                {"allowedOrigins": ["*"], "auth": {"tokenSecretName": "tokens"}},
                {"advanced": {"workerMemoryBytes": 1 << 44}},
                {"podLabels": {"app.kubernetes.io/instance": "other"}},
                {"podAnnotations": {"not/all/owed": "x"}},
                {"service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}},
                {"service": {"type": "NodePort", "loadBalancerClass": "example.com/a"}},
                {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
            )
        )


_CHANGES = (_replace, _replace, _replace, _remove, _misspell, _fill, _fill, _repeat, _cross)
