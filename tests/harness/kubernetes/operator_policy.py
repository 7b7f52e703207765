"""The chart's ValidatingAdmissionPolicy for the operator's account."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from harness import chart
from harness.kubernetes.api import Api
from harness.kubernetes.waiting import Json

_VALUES = {"allowed_pod_labels": "allowedPodLabels", "allowed_pod_annotations": "allowedPodAnnotations"}
_EFFECT_SECONDS = 20.0  # the API server reads its policies from a watch


def rendered(namespace: str, values: Json | None = None) -> list[Json]:
    """Policy and binding of a release in `namespace`."""
    all_values = {"admissionPolicy": {"enabled": True}} | (values or {})
    objects = chart.render(all_values, namespace=namespace)
    return chart.of_kind(objects, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def from_settings(settings: Mapping[str, object]) -> Json:
    """Values of the chart for these settings of an operator."""
    lists = {value: str(settings.get(name, "")).split(",") for name, value in _VALUES.items()}
    return {"operator": {value: [key for key in keys if key] for value, keys in lists.items()}}


@contextmanager
def operator_policy(
    api: Api, namespace: str, values: Json | None = None, *, in_force: Callable[[], bool] | None = None
) -> Iterator[None]:
    """The policy for the operator of `namespace`; waits until `in_force` returns true."""
    policies = rendered(namespace, values)
    for one in policies:
        api.apply(one, force=True)
    try:
        if in_force is not None:
            api.wait_until(in_force, _EFFECT_SECONDS, "the operator's policy in force")
        yield
    finally:
        for one in reversed(policies):
            plural = (
                one["kind"].lower() + "s"
                if one["kind"].endswith("Binding")
                else "validatingadmissionpolicies"
            )
            api.delete(plural, None, one["metadata"]["name"])
