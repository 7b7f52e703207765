"""Fixtures of apiserver tests: a real API server, a fault proxy, simulated controllers, operators."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.kubernetes.accounts import Account
from harness.kubernetes.api import Api
from harness.kubernetes.apiserver import find_server, own_server
from harness.kubernetes.loaded_pods import LoadedPods
from harness.kubernetes.operator import FAST_COMMAND, OperatorProcess
from harness.kubernetes.operator import start_operator as run_operator
from harness.kubernetes.operator_policy import from_settings, operator_policy
from harness.kubernetes.player import Player
from harness.kubernetes.proxy import FIRST_DOOR, FaultProxy
from harness.programs import program


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """Admin of a real API server that has the CRD; skips with what to set if there is none."""
    with find_server() as server:
        made = Api(server)
        try:
            made.install_crd()
            yield made
        finally:
            made.close()


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace that enforces restricted pods; empty before, gone after."""
    name = api.make_namespace()
    yield name
    api.remove_namespace(name)


@pytest.fixture
def stack(namespace: str) -> Iterator[ExitStack]:
    """What factories start, ended in the opposite order and before the namespace."""
    with ExitStack() as held:
        yield held


@pytest.fixture
def own_api(stack: ExitStack) -> Callable[[], Api]:
    """An API server of the test's own, with the CRD: for outages and scale."""

    def start() -> Api:
        made = Api(stack.enter_context(own_server()))
        stack.callback(made.close)
        made.install_crd()
        return made

    return start


@pytest.fixture
def make_namespace(api: Api, stack: ExitStack) -> Callable[..., str]:
    """More namespaces, also on another API server."""

    def make(where: Api = api, **labels: str) -> str:
        name = where.make_namespace(**labels)
        stack.callback(where.remove_namespace, name)
        return name

    return make


@pytest.fixture
def start_proxy(stack: ExitStack) -> Callable[[Api], FaultProxy]:
    """A fault proxy before any API server."""
    return lambda api: stack.enter_context(FaultProxy(api.server))


@pytest.fixture
def proxy(api: Api, namespace: str, start_proxy: Callable[[Api], FaultProxy]) -> FaultProxy:
    """The fault proxy before `api`'s server."""
    return start_proxy(api)


@pytest.fixture
def start_player(api: Api, namespace: str, stack: ExitStack) -> Callable[..., Player]:
    """Players for a namespace (None: all), also on another API server."""

    def start(*, api: Api = api, namespace: str | None = namespace, **options: Any) -> Player:
        if api.server.has_controllers():
            pytest.skip("this cluster has controllers of its own: set KUBEBUILDER_ASSETS")
        return stack.enter_context(Player(api, namespace=namespace, **options))

    return start


@pytest.fixture
def player(start_player: Callable[..., Player]) -> Player:
    """Plays Deployment controller and kubelet in `namespace`."""
    return start_player()


@pytest.fixture
def pods(player: Player, namespace: str, stack: ExitStack) -> LoadedPods:
    """Answers the scrapes of PoseClusters in `namespace`, with the load that the test sets."""
    return stack.enter_context(LoadedPods(player, namespace))


@pytest.fixture
def start_operator(
    api: Api,
    namespace: str,
    proxy: FaultProxy,
    start_proxy: Callable[[Api], FaultProxy],
    stack: ExitStack,
    tmp_path: Path,
) -> Callable[..., OperatorProcess]:
    """Operators as children, through a proxy or straight, under their own exact rights.

    They write under the chart's policy too, if helm is installed and the test brings no account.
    `fast`: with an autoscaler that watches and waits a fifth as long (harness.kubernetes.fast_operator).
    """
    proxies = {id(api): proxy}

    def start(
        *,
        api: Api = api,
        namespaces: Sequence[str] = (namespace,),
        lease_namespace: str = namespace,
        through: FaultProxy | None = None,
        door: str = FIRST_DOOR,
        proxied: bool = True,
        account: Account | None = None,
        fast: bool = False,
        wait: bool = True,
        **options: Any,
    ) -> OperatorProcess:
        if account is None:
            account = api.operator_account(namespaces=namespaces, lease_namespace=lease_namespace)
            if program("helm"):
                stack.enter_context(operator_policy(api, lease_namespace, from_settings(options)))
            if not namespaces:
                stack.callback(account.revoke)
        through = through or proxies.get(id(api))
        if proxied and through is None:
            through = proxies[id(api)] = start_proxy(api)
        url = through.door(door) if proxied and through else None
        if fast:
            options["command"] = FAST_COMMAND
        operator = stack.enter_context(
            run_operator(
                kubeconfig=account.kubeconfig(url),
                lease_namespace=lease_namespace,
                namespaces=namespaces,
                account=account,
                door=door,
                folder=tmp_path,
                **options,
            )
        )
        if wait:
            operator.wait_ready()
            operator.wait_leader()
        return operator

    return start


@pytest.fixture
def operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """One operator for `namespace`, through `proxy`, ready and leader."""
    return start_operator()


@pytest.fixture
def fast_operator(start_operator: Callable[..., OperatorProcess]) -> OperatorProcess:
    """As `operator`, with an autoscaler that watches and waits a fifth as long."""
    return start_operator(fast=True)


@pytest.fixture
def kubectl(api: Api) -> Callable[..., Any]:
    """`api.kubectl`, for tests that are about kubectl."""
    return partial(api.kubectl)


@pytest.fixture(scope="session")
def long_run() -> bool:
    """Whether POSECLUSTER_LONG=1 asks for default times and the figures marked long."""
    return os.environ.get("POSECLUSTER_LONG") == "1"
