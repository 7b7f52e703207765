"""Server and operator with IPv6, and on machines that have only one IP family."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import client
from harness.client import Reply
from harness.limits import limited
from harness.network import Family, Network, only
from harness.server import ROOT, ServerProcess, environment, run_to_end
from harness.stub import DETECT, Slow

SERVE = (sys.executable, "-m", "posecluster_inference", "serve")
OPERATOR = (sys.executable, "-W", "error", "-m", "posecluster_operator")
MAKE_RUN = "127.0.0.1,::1"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: one, user: one}}]
clusters: [{name: one, cluster: {server: "http://%s:1"}}]
users: [{name: one, user: {token: secret}}]
"""
SCRAPE = """
import asyncio, sys, time
from posecluster_operator.scaling.scraper import Scraper, Target
async def main():
    scraper = Scraper(monotonic=time.monotonic)
    target = Target(pod="uid", name="pod", host=sys.argv[1].strip("[]"), port=int(sys.argv[2]))
    print(type((await scraper.scrape([target]))["uid"]).__name__)
    await scraper.close()
asyncio.run(main())
"""
Start = Callable[..., ServerProcess]

needs_ipv6 = pytest.mark.skipif(
    not Path("/proc/net/if_inet6").is_file() or "lo" not in Path("/proc/net/if_inet6").read_text(),
    reason="this machine has no ::1",
)


@pytest.fixture(params=Family)
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with only(request.param) as made:
        yield made


def listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


# --- this machine ---


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "addresses"),
    [("", {"127.0.0.1", "::1"}), ("::1", {"::1"}), ("::", {"::1"}), ("0.0.0.0", {"127.0.0.1"})],
)
def test_both_ports_listen_on_every_family_or_on_the_address_named(
    start: Start, host: str, addresses: set[str]
) -> None:
    server = start(engine="stub", host=host, ready=False)
    for port in (server.port, server.admin_port):
        assert {one for one in ("127.0.0.1", "::1") if listening(one, port)} == addresses


@needs_ipv6
def test_callers_at_ipv6_addresses_have_quotas_and_trusted_proxies(start: Start) -> None:
    server = start(
        engine="stub", host="::1", rate_limit_per_minute=1, rate_limit_burst=1, trusted_proxies="::1"
    )
    picture = Slow(0).picture(0)

    def detect(forwarded: str) -> Reply:
        return client.post(server.url + DETECT, picture, headers={"X-Forwarded-For": forwarded})

    assert server.url.startswith("http://[::1]:")
    assert [detect("2001:db8::1").status, detect("2001:db8::2").status] == [200, 429], "of one /64"
    assert detect("2001:db8:0:1::1").status == 200
    assert [detect("192.0.2.1").status, detect("::ffff:192.0.2.1").status] == [200, 429], "of one address"


@needs_ipv6
@pytest.mark.parametrize("setting", ["PORT", "ADMIN_PORT"])
def test_an_address_that_is_taken_is_named_in_brackets(setting: str) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        ended = run_to_end("serve", engine="stub", host=MAKE_RUN, **{setting.lower(): port})
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last == (
        f"posecluster-inference: cannot listen on [::1]:{port}: Address already in use; "
        f"choose another port with POSECLUSTER_{setting}"
    )


@needs_ipv6
def test_make_run_serves_only_this_machine_unless_the_variable_is_set(start: Start) -> None:
    """In a login shell with a soft limit of 512 descriptors, too few for the cap on connections."""
    recipe = subprocess.run(
        ["make", "-n", "run", f"BIN={Path(sys.executable).parent}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]
    shell = limited(("bash", "-c", recipe), soft=512)
    server = start(engine="stub", command=("env", "-u", "POSECLUSTER_HOST", *shell), ready=False)
    assert 'Listening host="127.0.0.1, ::1" ' in server.logs()
    assert server.logs().count("WARNING") == 0
    server = start(engine="stub", host="0.0.0.0", command=shell, ready=False)
    assert "Listening host=0.0.0.0 " in server.logs()


# --- a machine with one family ---


@pytest.mark.parametrize("host", ["", MAKE_RUN], ids=["unset", "as make run has it"])
def test_the_server_serves_and_is_scraped_with_one_family(start: Start, network: Network, host: str) -> None:
    server = start(engine="stub", host=host, ready=False, command=network.command(*SERVE))
    base = f"http://{network.family.loopback}"
    server.wait_until(
        lambda: network.fetch(f"{base}:{server.admin_port}/readyz")[0] == 200, "ready for probes", 30
    )
    status, text = network.fetch(f"{base}:{server.port}{DETECT}", Slow(0).picture(0))
    assert (status, '"people"' in text) == (200, True)
    scraped = network.python(SCRAPE, network.family.loopback, str(server.admin_port))
    assert scraped == "PodSample\n"
    other = Family.IPV6 if network.family is Family.IPV4 else Family.IPV4
    assert network.fetch(f"http://{other.loopback}:{server.port}/healthz")[0] == 0, "it has one family only"
    assert "ERROR" not in server.logs()


def test_the_operator_answers_probes_and_explain_with_one_family(network: Network, tmp_path: Path) -> None:
    """Its API server is away, at an address of the same family."""
    loopback, path = network.family.loopback, tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG % loopback, encoding="utf-8")
    variables = environment({}, {"KUBECONFIG": str(path)})
    with ExitStack() as stack:
        operator = stack.enter_context(
            subprocess.Popen(
                network.command(*OPERATOR, "run", "--port", "0"),
                env=variables,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(operator.kill)
        assert operator.stderr is not None
        line = operator.stderr.readline()
        found = re.search(r"Listening host=.* port=(\d+)", line)
        assert found, line
        url = f"http://{loopback}:{found[1]}"
        assert network.fetch(f"{url}/livez") == (200, "ok\n")
        asked = subprocess.run(
            network.command(*OPERATOR, "explain", "demo", "-n", "default", "--operator", url),
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert asked.returncode == 1
    assert f"{url}/explain/default/demo responded with 404: This operator is still starting" in asked.stderr
