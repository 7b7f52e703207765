"""The operator under a user id that the platform assigns: no name, no home, no writable folder."""

from collections.abc import Callable
from pathlib import Path

from harness import assigned_user
from harness.assigned_user import ASSIGNED
from harness.kubernetes.api import Api
from harness.kubernetes.facts import wait_rolled_out
from harness.kubernetes.operator import COMMAND, OperatorProcess
from harness.kubernetes.player import Player
from harness.kubernetes.waiting import posecluster

WITHOUT_A_NAME = ("env", "--unset=HOME", "--unset=USER", "--unset=LOGNAME", "--unset=POD_ID")


def test_an_operator_without_a_user_name_reconciles(
    api: Api,
    namespace: str,
    player: Player,
    start_operator: Callable[..., OperatorProcess],
    tmp_path: Path,
) -> None:
    account = api.operator_account(namespaces=[namespace], lease_namespace=namespace)
    folder = tmp_path / "kubeconfig"
    folder.mkdir()
    folder.chmod(0o755)
    kubeconfig = folder / "config"
    kubeconfig.write_text(account.kubeconfig().read_text(encoding="utf-8"), encoding="utf-8")
    kubeconfig.chmod(0o640)  # the group, which is root's, may read it
    operator = start_operator(
        command=assigned_user.command(ASSIGNED, tmp_path / "root", (*WITHOUT_A_NAME, *COMMAND), folder),
        account=account,
        proxied=False,
        env={"KUBECONFIG": str(kubeconfig)},
        inference_run_as_user=ASSIGNED.user,
    )
    assert Path(f"/proc/{operator.pid}").stat().st_uid == ASSIGNED.user
    api.create(posecluster("demo", namespace))
    wait_rolled_out(api, namespace, "demo")
    (pod,) = player.ready_pods(namespace, "demo-pose")
    assert pod["spec"]["securityContext"]["runAsUser"] == ASSIGNED.user
