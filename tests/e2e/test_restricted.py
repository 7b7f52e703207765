"""Check 20 on a real cluster: chart and PoseCluster run where `restricted` is enforced."""

import copy
import json

import pytest

from harness.e2e.cluster import RESTRICTED
from harness.e2e.pods import Inside, template_pod
from harness.e2e.pose import Place
from harness.e2e.release import NAMESPACE, Release
from harness.kubernetes.api import Api, ApiError
from harness.kubernetes.waiting import Json
from harness.recorder import RecordFigure

NEEDED = ("runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation", "capabilities")

# what a process of the container finds: who it is, what it may write, which capabilities and token it has
_LOOK = """
import json, os
def writable(folder):
    try:
        with open(os.path.join(folder, 'probe'), 'w'):
            return True
    except OSError:
        return False
status = dict(line.split(':', 1) for line in open('/proc/1/status') if ':' in line)
print(json.dumps({
    'uid': os.getuid(), 'gid': os.getgid(),
    'writable': [one for one in ('/', '/etc', '/models', '/opt', '/var', '/usr', '/tmp') if writable(one)],
    'capabilities': int(status['CapEff'], 16) | int(status['CapBnd'], 16),
    'new privileges': int(status['NoNewPrivs']), 'seccomp': int(status['Seccomp']),
    'token': os.path.exists('/var/run/secrets/kubernetes.io'),
}))
"""


def look(pod: Inside) -> Json:
    found: Json = json.loads(pod.python(_LOOK))
    return found


@pytest.mark.acceptance(20)
def test_chart_and_pods_run_restricted(
    release: Release, api: Api, place: Place, record_figure: RecordFigure
) -> None:
    for namespace in (NAMESPACE, place.namespace):
        labels = api.get("namespaces", None, namespace)["metadata"]["labels"]
        assert labels.items() >= RESTRICTED.items()
    api.warnings.clear()
    pose = place.pose(replicas=1)
    done = "All desired pods are ready and match the spec."
    assert pose.condition("Progressing")["message"] == done, "no admission changes what the operator applies"
    for kind, where in (("deployments", NAMESPACE), ("deployments", place.namespace)):
        for one in api.list(kind, where):
            again = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": one["spec"]}
            metadata = {"name": f"again-{one['metadata']['name']}", "namespace": where}
            api.create({**again, "metadata": metadata}, dry_run=True)
    assert api.warnings == []

    server, operator = look(pose.inside(pose.pods()[0])), look(release.inside())
    assert server == {
        "uid": 10001, "gid": 10001, "writable": ["/tmp"], "capabilities": 0,
        "new privileges": 1, "seccomp": 2, "token": False,
    }  # fmt: skip
    assert operator == server | {"writable": [], "token": True}
    with place.agent.traffic(pose.url, most=20) as traffic:
        traffic.wait_total(20)
    assert traffic.failures == []
    record_figure("warnings of chart and PoseCluster", len(api.warnings), bar="0", sample="2 templates")


@pytest.mark.acceptance(20)
@pytest.mark.control
def test_a_pod_that_lacks_one_setting_is_refused(release: Release, api: Api, place: Place) -> None:
    pose = place.pose(wait=False, replicas=0)
    api.wait_until(lambda: api.find("deployments", place.namespace, f"{pose.name}-pose"), 30, "a Deployment")
    whole = template_pod(pose.deployment(), "one")
    api.create(whole, dry_run=True)
    for setting in NEEDED:
        spoilt = copy.deepcopy(whole)
        for context in (
            spoilt["spec"]["securityContext"],
            spoilt["spec"]["containers"][0]["securityContext"],
        ):
            context.pop(setting, None)
        with pytest.raises(ApiError, match='violates PodSecurity "restricted') as error:
            api.create(spoilt, dry_run=True)
        assert setting in str(error.value)
