"""Server and operator under a user id that the platform assigns, as OpenShift does for each namespace."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import assigned_user, client, pictures, processes
from harness.assigned_user import ASSIGNED, IMAGES_OWN, Ids
from harness.poseclusters import posecluster
from harness.server import ServerProcess
from harness.stub import DETECT
from posecluster_operator.builders.deployment import deployment
from posecluster_operator.resource.posecluster import PodDefaults

pytestmark = pytest.mark.component

SERVE = (sys.executable, "-m", "posecluster_inference", "serve")
LOOK = """
import getpass, json, os, sys, tempfile
def writable(folder):
    try:
        tempfile.TemporaryFile(dir=folder).close()
        return True
    except OSError:
        return False
try:
    name = getpass.getuser()
except (KeyError, OSError):
    name = None
print(json.dumps({"uid": os.getuid(), "groups": sorted({os.getgid(), *os.getgroups()}), "name": name,
                  "writable": [folder for folder in sys.argv[1:] if writable(folder)]}))
"""
OTHER = Ids(1_000_690_001, 0)  # whose processes are only those of one test
Start = Callable[..., ServerProcess]


def secret(folder: Path, mode: int) -> Path:
    """A mounted Secret without fsGroup: root owns its files."""
    folder.mkdir()
    folder.chmod(0o755)
    token = folder / "mobile"
    token.write_text("the-token-of-a-test\n", encoding="utf-8")
    token.chmod(mode)
    return folder


def secret_mode() -> int:
    """The mode that the operator gives to the token Secret's files."""
    cluster = posecluster({"auth": {"tokenSecretName": "mine"}})
    made = deployment(cluster, {}, replicas=1, images=PodDefaults(image="x"))
    volumes = made["spec"]["template"]["spec"]["volumes"]
    (mode,) = [volume["secret"]["defaultMode"] for volume in volumes if "secret" in volume]
    return int(mode)


def detect(server: ServerProcess, token: str = "") -> client.Reply:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.post(server.url + DETECT, pictures.built_in(), headers=headers)


@pytest.mark.control
def test_the_stand_in_for_a_platform_is_as_strict(tmp_path: Path) -> None:
    folders = ("/", "/tmp", "/etc", "/usr", str(pictures.ROOT), sys.prefix)
    look = (sys.executable, "-c", LOOK, *folders)
    found = json.loads(assigned_user.run(ASSIGNED, tmp_path / "root", look).stdout)
    assert found == {"uid": ASSIGNED.user, "groups": [0], "name": None, "writable": ["/tmp"]}


@pytest.mark.parametrize("home", ["/", None], ids=["home is the root", "no home"])
def test_the_server_detects_under_an_assigned_user(
    start: Start, tmp_path: Path, full_model: Path, home: str | None
) -> None:
    without = () if home else ("env", "--unset=HOME", "--unset=USER", "--unset=LOGNAME")
    command = assigned_user.command(ASSIGNED, tmp_path / "root", (*without, *SERVE))
    server = start(command=command, model_dir=str(full_model.parent), env={"HOME": home or ""}, workers=2)
    answer = detect(server)
    assert answer.status == 200, answer.body
    assert len(json.loads(answer.body)["people"]) == 1
    assert {processes.user(pid) for pid in server.worker_pids()} == {ASSIGNED.user}
    server.signal(signal.SIGTERM)
    assert server.wait(20) == 0


@pytest.mark.parametrize("threads", [1, 3, 5, 10])
def test_a_limit_on_processes_that_is_too_small_ends_the_start(
    tmp_path: Path, full_model: Path, threads: int
) -> None:
    """RLIMIT_NPROC does not bind root. The server needs some threads, and each worker about ten."""
    limited = ("prlimit", f"--nproc={threads}", *SERVE)
    variables = {"MODEL_DIR": str(full_model.parent), "PORT": "0", "ADMIN_PORT": "0", "WORKERS": "2"}
    done = assigned_user.run(
        OTHER, tmp_path / "root", limited, **{f"POSECLUSTER_{name}": text for name, text in variables.items()}
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]  # which a pod shows as the container's message
    assert last.startswith("posecluster-inference: ")
    assert "raise the limit on processes and threads (ulimit -u, --pids-limit, podPidsLimit)" in last


@pytest.mark.parametrize("ids", [ASSIGNED, IMAGES_OWN], ids=["assigned", "the image's own"])
def test_tokens_can_be_read_by_whatever_user_there_is(start: Start, tmp_path: Path, ids: Ids) -> None:
    tokens = secret(tmp_path / "tokens", secret_mode())
    command = assigned_user.command(ids, tmp_path / "root", SERVE, tokens)
    server = start(command=command, engine="stub", auth_tokens_dir=str(tokens))
    assert detect(server).status == 401
    assert detect(server, "the-token-of-a-test").status == 200


@pytest.mark.control
def test_tokens_that_only_root_and_its_group_may_read_would_not_do(start: Start, tmp_path: Path) -> None:
    tokens = secret(tmp_path / "tokens", 0o440)
    command = assigned_user.command(IMAGES_OWN, tmp_path / "root", SERVE, tokens)
    server = start(command=command, engine="stub", auth_tokens_dir=str(tokens))
    assert "Cannot use a token" in server.logs()
    assert detect(server, "the-token-of-a-test").status == 401


@pytest.mark.parametrize("arguments", [("models", "verify", "--variant", "full"), ("models", "list")])
def test_other_commands_run_under_an_assigned_user(
    tmp_path: Path, full_model: Path, arguments: tuple[str, ...]
) -> None:
    done = assigned_user.run(
        ASSIGNED,
        tmp_path / "root",
        (sys.executable, "-m", "posecluster_inference", *arguments),
        POSECLUSTER_MODEL_DIR=str(full_model.parent),
    )
    assert done.returncode == 0, done.stderr
