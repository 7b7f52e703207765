"""Tests of the harness: each fault of the proxy does what its name says."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from harness.kubernetes.api import Api
from harness.kubernetes.proxy import Call, FaultProxy, Rule
from harness.kubernetes.waiting import wait_until

Json = dict[str, Any]
NAME = "demo-pose"


@pytest.fixture
def caller(api: Api, namespace: str, proxy: FaultProxy) -> Iterator[httpx.Client]:
    """Somebody with rights on ConfigMaps, through the proxy."""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    account = api.account(namespace, "caller", rules)
    headers = {"Authorization": f"Bearer {account.token}", "User-Agent": "caller/1"}
    with httpx.Client(base_url=proxy.url, headers=headers, trust_env=False, timeout=5) as client:
        yield client


def config_map(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b" * 200}}


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


class Watcher:
    """Reads a watch in a thread: lines, and how it ended."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        self.lines: list[Json] = []
        self.end = ""
        self._thread = threading.Thread(target=self._read, args=(client, path), daemon=True)
        self._thread.start()

    def _read(self, client: httpx.Client, path: str) -> None:
        try:
            with client.stream("GET", path, params={"watch": "1"}, timeout=20) as response:
                for line in response.iter_lines():
                    self.lines.append(json.loads(line))
            self.end = "closed"
        except (httpx.HTTPError, ValueError) as error:
            self.end = type(error).__name__

    def names(self) -> list[str]:
        return [one["object"].get("metadata", {}).get("name", "") for one in self.lines]


def test_calls_are_passed_and_logged(
    caller: httpx.Client, proxy: FaultProxy, namespace: str, path: str
) -> None:
    assert caller.post(path, json=config_map("one")).status_code == 201
    assert caller.get(f"{path}/one").json()["metadata"]["name"] == "one"
    assert caller.get("/api/v1/secrets").status_code == 403
    created, got, refused = proxy.calls
    assert (created.verb, created.resource, created.namespace) == ("create", "configmaps", namespace)
    assert created.document()["kind"] == "ConfigMap"
    assert created.caller == f"system:serviceaccount:{namespace}:caller"
    assert created.user_agent == "caller/1"
    assert (got.verb, got.name, got.status) == ("get", "one", 200)
    assert (refused.verb, refused.status) == ("list", 403)
    assert proxy.writes() == [created]
    assert all(0 < call.time <= call.ended for call in proxy.calls)


def test_a_watch_is_passed_unbuffered(
    api: Api, caller: httpx.Client, proxy: FaultProxy, namespace: str, path: str
) -> None:
    watcher = Watcher(caller, path)
    wait_until(lambda: proxy.open_watches("configmaps"), 5, "watching")
    for name in ("one", "two"):
        begin = time.monotonic()
        api.create(config_map(name) | {"metadata": {"name": name, "namespace": namespace}})
        wait_until(lambda name=name: name in watcher.names(), 2, f"seen {name}")
        assert time.monotonic() - begin < 1
    proxy.add(Rule(verb="watch", do="cut", times=1))
    wait_until(lambda: watcher.end, 5, "cut")
    assert watcher.end != "closed"
    assert not proxy.open_watches()


@pytest.mark.parametrize("do", ["lose", "hang_after", "cut", "bad_json", "reset", "hang", "answer"])
def test_a_fault_is_what_it_says(
    api: Api, caller: httpx.Client, proxy: FaultProxy, namespace: str, path: str, do: Any
) -> None:
    rule = proxy.add(Rule(verb="write", do=do, nth=2, status=429, retry_after=3))
    assert caller.post(path, json=config_map("one")).status_code == 201
    try:
        response = caller.post(path, json=config_map("two"), timeout=1)
    except (httpx.TransportError, ValueError) as error:
        ended = type(error).__name__
    else:
        ended = f"{response.status_code} {response.headers.get('Retry-After')}"
        if do == "bad_json":
            with pytest.raises(ValueError, match="char"):
                response.json()
    expected = {
        "answer": {"429 3"},
        "bad_json": {"201 None"},
        "hang": {"ReadTimeout"},
        "hang_after": {"ReadTimeout"},
    }
    assert ended in expected.get(do, {"ReadError", "RemoteProtocolError"})
    applied = api.find("configmaps", namespace, "two") is not None
    assert applied == (do not in {"reset", "hang", "answer"})
    (hit,) = rule.hits
    assert hit.forwarded == applied
    assert hit.rule is rule
    assert caller.post(path, json=config_map("three")).status_code == 201


def test_hooks_run_when_applied_and_not_yet_answered(
    api: Api, caller: httpx.Client, proxy: FaultProxy, path: str
) -> None:
    order: list[tuple[str, int]] = []

    def done(call: Call) -> None:
        order.append(("done", call.status))

    proxy.add(Rule(verb="create", on_match=lambda call: order.append(("match", call.status)), on_done=done))
    caller.post(path, json=config_map("one"))
    assert order == [("match", 0), ("done", 201)]


def test_silence_and_410_reach_an_open_watch(
    api: Api, caller: httpx.Client, proxy: FaultProxy, namespace: str, path: str
) -> None:
    watcher = Watcher(caller, path)
    wait_until(lambda: proxy.open_watches("configmaps"), 5, "watching")
    with proxy.fault(verb="watch", resource="configmaps", do="silence") as rule:
        wait_until(lambda: rule.hits, 5, "silent")
        caller.post(path, json=config_map("lost"))
        time.sleep(0.3)  # the absence of events cannot be waited for
        assert "lost" not in watcher.names()
    caller.post(path, json=config_map("seen"))
    wait_until(lambda: "seen" in watcher.names(), 5, "heard again")
    proxy.add(Rule(verb="watch", do="gone", times=1))
    wait_until(lambda: watcher.end, 5, "ended")
    assert watcher.end == "closed"
    assert watcher.lines[-1]["object"]["code"] == 410


def test_old_answers_and_an_outage(
    api: Api, caller: httpx.Client, proxy: FaultProxy, namespace: str, path: str
) -> None:
    with proxy.fault(verb="list", do="old"):
        before = caller.get(path).json()
        caller.post(path, json=config_map("new"))
        assert caller.get(path).json() == before
    assert len(caller.get(path).json()["items"]) == len(before["items"]) + 1
    with proxy.refuse(), pytest.raises(httpx.ConnectError):
        caller.get(path)
    assert caller.get(path).status_code == 200
    second = proxy.door("second")
    httpx.get(second + path, headers=dict(caller.headers), trust_env=False)
    assert [call.door for call in proxy.calls[-2:]] == ["operator", "second"]
